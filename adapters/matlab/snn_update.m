function net = snn_update(net, gradients)
%SNN_UPDATE  SGD with momentum, or Adam, as PyTorch computes them.
net.updates = net.updates + 1;
names = {'W', 'b', 'U'};
for i = 1:numel(net.layer)
    for k = 1:numel(names)
        name = names{k};
        g = gradients{i}.(name);
        if isempty(g)
            continue
        end
        first = net.updates == 1;
        switch net.optimiser
        case 'sgd'
            if first
                m = g;
            else
                m = net.decay(1) * net.sums{i}.(name) + g;
            end
            change = net.rate * m;
        case 'adam'
            m = (1 - net.decay(1)) * g;
            v = (1 - net.decay(2)) * g .^ 2;
            if ~first
                m = m + net.decay(1) * net.sums{i}.(name);
                v = v + net.decay(2) * net.squares{i}.(name);
            end
            net.squares{i}.(name) = v;
            root = sqrt(v) / sqrt(1 - net.decay(2) ^ net.updates) + 1e-8;
            change = net.rate / (1 - net.decay(1) ^ net.updates) * m ./ root;
        end
        net.sums{i}.(name) = m;
        net.layer{i}.(name) = net.layer{i}.(name) - change;
    end
end
end
