function dx = conv_input_gradient(d, W, form)
%CONV_INPUT_GRADIENT  From dL/dy, H x W x B x N, to dL/dx, H x W x B x C: the kernel turned.
[H, V, B, N] = size4(d);
[K, ~, C, ~] = size4(W);
if strcmp(form, 'im2col')
    turned = permute(W(K:-1:1, K:-1:1, :, :), [1 2 4 3]);
    dx = reshape(maps_unfold(d, K) * reshape(turned, K * K * N, C), [H V B C]);
    return
end
dx = zeros([H V B C], class(d));
switch form
case 'convn'                               % turns space by itself; the maps are turned for it
    kernel = reshape(permute(W(:, :, :, N:-1:1), [1 2 4 3]), [K K 1 N C]);
    d = maps_pad(d, (K - 1) / 2);
    for c = 1:C
        dx(:, :, :, c) = convn(d, kernel(:, :, :, :, c), 'valid');
    end
case 'conv2'
    for c = 1:C
        for s = 1:B
            map = zeros(H, V, class(d));
            for n = 1:N
                map = map + conv2(d(:, :, s, n), W(:, :, c, n), 'same');
            end
            dx(:, :, s, c) = map;
        end
    end
end
end
