function batch = snn_batch(net, given)
%SNN_BATCH  A batch of a MAT file: x of T x B x C x H x W, or 1 x B x C x H x W of a static image.
x = given.x;
batch.T = given.T;
batch.static = given.static == 1;
batch.labels = double(reshape(given.labels, 1, []));      % from 0
batch.x = cell(1, size(x, 1));
for t = 1:size(x, 1)
    frame = reshape(x(t, :, :, :, :), [size(x, 2) size(x, 3) size(x, 4) size(x, 5)]);
    batch.x{t} = cast(permute(frame, [3 4 1 2]), net.class);
end
end
