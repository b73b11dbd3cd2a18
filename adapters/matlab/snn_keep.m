function snn_keep(file, net, values)
%SNN_KEEP  Writes weights or gradients, a cell of W, b and U, in PyTorch's shapes.
s = struct();
for i = 1:numel(values)
    W = values{i}.W;
    if net.layer{i}.conv
        W = permute(W, [4 3 1 2]);
    end
    s.(sprintf('W%d', i)) = W;
    s.(sprintf('b%d', i)) = values{i}.b;
    if ~isempty(values{i}.U)
        s.(sprintf('U%d', i)) = permute(values{i}.U, [4 1 2 3]);
    end
end
save(file, '-struct', 's', '-v6');
end
