function net = snn_weights(net, given)
%SNN_WEIGHTS  Sets the weights, from PyTorch's shapes: C_out x C_in x K x K, N_out x N_in, C x H x W.
for i = 1:numel(net.layer)
    W = cast(given.(sprintf('W%d', i)), net.class);
    if net.layer{i}.conv
        W = permute(W, [3 4 2 1]);
    end
    net.layer{i}.W = W;
    net.layer{i}.b = cast(reshape(given.(sprintf('b%d', i)), [], 1), net.class);
    name = sprintf('U%d', i);
    if isfield(given, name)
        net.layer{i}.U = cast(permute(given.(name), [2 3 4 1]), net.class);   % H x W x 1 x C
    end
end
end
