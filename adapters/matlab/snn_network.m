function net = snn_network(given)
%SNN_NETWORK  The network that a MAT file describes, without weights.
%
%   Feature maps are H x W x B x C everywhere: all samples of one map lie together, and im2col has
%   nothing to permute. Features are N x B.
net.k_tau = given.lif(1);
net.v_th = given.lif(2);
net.a = given.lif(3);
net.k_tau2 = given.k_tau2;
net.classes = given.classes;
net.population = given.population;
net.class = given.class;                   % 'single' or 'double'
net.form = given.form;                     % 'im2col', 'convn' or 'conv2'
net.optimiser = given.optimiser;           % 'sgd' or 'adam'
net.rate = given.rate;
net.decay = given.decay;                   % [momentum], or [beta1 beta2]
net.updates = 0;
n = numel(given.conv);
net.layer = cell(1, n);
for i = 1:n
    layer = struct();
    layer.conv = given.conv(i) == 1;
    layer.flattens = layer.conv && given.conv(min(i + 1, n)) ~= 1;
    layer.pool = given.pool(i);
    layer.c = given.c(i);                  % of eq. (9); 0 where NeuNorm does not act
    layer.W = []; layer.b = []; layer.U = [];
    net.layer{i} = layer;
end
net.sums = cell(1, n);                     % what the optimiser gathers
net.squares = cell(1, n);
end
