function gradients = snn_backward(net, batch, pass, back)
%SNN_BACKWARD  STBP, eqs. (12) to (14): the gradients of all parameters.
%
%   back{t}: dL/do of the voting layer at step t, N x B. With d standing for dL/d:
%   do[t] = (from the layer above) - k_tau u[t] du[t+1]
%   du[t] = do[t] h(u[t]) + k_tau (1 - o[t]) du[t+1]
n = numel(net.layer);
gradients = cell(1, n);
for i = 1:n
    gradients{i} = struct('W', zeros(size(net.layer{i}.W), net.class), ...
                          'b', zeros(size(net.layer{i}.b), net.class), ...
                          'U', zeros(size(net.layer{i}.U), net.class));
end
later = cell(1, n);                        % du[t+1]
dx = cell(1, n);                           % of NeuNorm's auxiliary neurons at t+1
still = 0;                                 % du of the first layer, summed where the image is static
for t = batch.T:-1:1
    d = back{t};
    for i = n:-1:1
        layer = net.layer{i};
        u = pass.u{i, t}; o = pass.o{i, t};
        if layer.flattens
            d = maps_unflatten(d, o, layer.pool);
        end
        if ~isempty(layer.U)
            own = -sum(layer.U .* d, 4);
            if t < batch.T
                own = own + net.k_tau2 * dx{i};
            end
            dx{i} = own;
            gradients{i}.U = gradients{i}.U - sum(d .* pass.x{i, t}, 3);
            d = d + layer.c * own;
        end
        if layer.pool > 1
            d = pool_backward(d, layer.pool, o);
        end
        h = cast(abs(u - net.v_th) < net.a / 2, net.class) / net.a;           % eq. (14)
        if t < batch.T
            d = d - net.k_tau * (u .* later{i});                              % eq. (12)
            du = d .* h + net.k_tau * ((1 - o) .* later{i});                  % eq. (13)
        else
            du = d .* h;
        end
        later{i} = du;
        if i == 1 && batch.static
            still = still + du;
        else
            gradients{i} = gathered(gradients{i}, layer, pass.in{i, t}, du, net.form);
        end
        if i == 1
            continue
        elseif layer.conv
            d = conv_input_gradient(du, layer.W, net.form);
        else
            d = layer.W' * du;
        end
    end
end
if batch.static
    gradients{1} = gathered(gradients{1}, net.layer{1}, batch.x{1}, still, net.form);
end
end

function sum_ = gathered(sum_, layer, in, du, form)
%GATHERED  Adds a step's gradients of weights and bias.
if layer.conv
    sum_.W = sum_.W + conv_weight_gradient(in, du, size(layer.W, 1), form);
    sum_.b = sum_.b + reshape(sum(sum(sum(du, 1), 2), 3), [], 1);
else
    sum_.W = sum_.W + du * in';
    sum_.b = sum_.b + sum(du, 2);
end
end
