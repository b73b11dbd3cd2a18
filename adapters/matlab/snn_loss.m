function [loss, back] = snn_loss(net, batch, pass)
%SNN_LOSS  Eq. (11): the mean vote against the one-hot label, and its gradient by each step's spikes.
B = numel(batch.labels);
rate = pass.o{end, 1};
for t = 2:batch.T
    rate = rate + pass.o{end, t};
end
rate = reshape(rate / batch.T, net.population, net.classes, B);
votes = reshape(sum(rate, 1) / net.population, net.classes, B);
target = zeros(net.classes, B, net.class);
target(sub2ind([net.classes B], batch.labels + 1, 1:B)) = 1;
off = votes - target;
loss = sum(off(:) .^ 2) / numel(off);
d = 2 * off / (numel(off) * batch.T * net.population);
d = repmat(reshape(d, 1, net.classes, B), [net.population 1 1]);
back = repmat({reshape(d, [], B)}, 1, batch.T);
end
