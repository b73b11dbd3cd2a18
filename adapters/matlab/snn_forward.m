function pass = snn_forward(net, batch, keep)
%SNN_FORWARD  The network over T steps, eqs. (5) to (10).
%
%   pass.o{i, t}: the spikes of layer i at step t; without KEEP of the last layer alone. With KEEP
%   also u, its potential, IN, what its synapse is given, and x, NeuNorm's auxiliary neurons.
n = numel(net.layer);
T = batch.T;
pass.o = cell(n, T); pass.u = cell(n, T); pass.in = cell(n, T); pass.x = cell(n, T);
u = cell(1, n); o = cell(1, n); x = cell(1, n);
for t = 1:T
    sent = batch.x{min(t, numel(batch.x))};
    for i = 1:n
        layer = net.layer{i};
        if keep
            pass.in{i, t} = sent;
        end
        if i == 1 && batch.static && t > 1
            current = still;               % the same image: its current is computed once
        elseif layer.conv
            current = conv_forward(sent, layer.W, layer.b, net.form);
        else
            current = layer.W * sent + layer.b;
        end
        if i == 1
            still = current;
        end
        if t == 1
            u{i} = current;
        else
            u{i} = net.k_tau * u{i} .* (1 - o{i}) + current;                  % eq. (5)
        end
        o{i} = cast(u{i} >= net.v_th, net.class);                             % eq. (6)
        sent = o{i};
        if layer.pool > 1
            sent = pool_forward(sent, layer.pool);
        end
        if ~isempty(layer.U)
            rise = layer.c * sum(sent, 4);
            if t == 1
                x{i} = rise;
            else
                x{i} = net.k_tau2 * x{i} + rise;                              % eq. (9)
            end
            sent = sent - layer.U .* x{i};                                    % eq. (10)
        end
        if layer.flattens
            sent = maps_flatten(sent);
        end
        if keep
            pass.u{i, t} = u{i}; pass.o{i, t} = o{i}; pass.x{i, t} = x{i};
        elseif i == n
            pass.o{i, t} = o{i};
        end
    end
end
end
