function [at, loss] = snn_do(at, verb, file)
%SNN_DO  Does one command in a slot: its new contents, and the loss of the last step.
switch verb
case 'about'
    about.version = version();
    about.blas = version('-blas');
    if exist('OCTAVE_VERSION', 'builtin')
        about.program = 'GNU Octave';
    else
        about.program = 'MATLAB';
    end
    save(file, '-struct', 'about', '-v6');
case 'network'
    at.net = snn_network(load(file));
case 'weights'
    at.net = snn_weights(at.net, load(file));
case 'batch'
    at.batch = snn_batch(at.net, load(file));
case 'step'
    pass = snn_forward(at.net, at.batch, true);
    [at.loss, back] = snn_loss(at.net, at.batch, pass);
    at.gradients = snn_backward(at.net, at.batch, pass, back);
    at.net = snn_update(at.net, at.gradients);
    at.o = pass.o(end, :);
case 'infer'
    pass = snn_forward(at.net, at.batch, false);
    at.o = pass.o(end, :);
case 'differentiate'                       % spikes weighted by what the file says, T x B x N
    given = load(file);
    back = cell(1, at.batch.T);
    for t = 1:at.batch.T
        back{t} = cast(reshape(given.back(t, :, :), size(given.back, 2), [])', at.net.class);
    end
    pass = snn_forward(at.net, at.batch, true);
    at.gradients = snn_backward(at.net, at.batch, pass, back);
case 'out'
    s.out = in_time(at.o, false);
    save(file, '-struct', 's', '-v6');
case 'spikes'
    pass = snn_forward(at.net, at.batch, true);
    for i = 1:numel(at.net.layer)
        s.(sprintf('o%d', i)) = in_time(pass.o(i, :), at.net.layer{i}.conv);
    end
    save(file, '-struct', 's', '-v6');
case 'gradients'
    snn_keep(file, at.net, at.gradients);
case 'parameters'
    snn_keep(file, at.net, at.net.layer);
case 'close'
    at = struct();
otherwise
    error('unknown command %s', verb);
end
loss = 0;
if isfield(at, 'loss')
    loss = double(at.loss);
end
end

function all = in_time(o, maps)
%IN_TIME  A layer's spikes of each step as one array: T x B x N, or T x B x C x H x W of maps.
T = numel(o);
if maps
    [H, W, B, C] = size4(o{1});
    all = zeros([T B C H W], 'uint8');
    for t = 1:T
        all(t, :, :, :, :) = reshape(uint8(permute(o{t}, [3 4 1 2])), [1 B C H W]);
    end
else
    [N, B] = size(o{1});
    all = zeros([T B N], 'uint8');
    for t = 1:T
        all(t, :, :) = reshape(uint8(o{t}'), [1 B N]);
    end
end
end
