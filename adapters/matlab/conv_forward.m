function y = conv_forward(x, W, b, form)
%CONV_FORWARD  Convolution of the same size, eq. (8): H x W x B x C -> H x W x B x N.
%
%   PyTorch's convolution does not turn the kernel; conv2 and convn do, so it is turned for them.
[H, V, B, C] = size4(x);
[K, ~, ~, N] = size4(W);
if strcmp(form, 'im2col')
    y = maps_unfold(x, K) * reshape(W, K * K * C, N) + b';
    y = reshape(y, [H V B N]);
    return
end
y = zeros([H V B N], class(x));
switch form
case 'convn'                               % one call for each output map
    turned = reshape(W(K:-1:1, K:-1:1, C:-1:1, :), [K K 1 C N]);
    x = maps_pad(x, (K - 1) / 2);
    for n = 1:N
        y(:, :, :, n) = convn(x, turned(:, :, :, :, n), 'valid') + b(n);
    end
case 'conv2'                               % one call for each sample and pair of maps
    turned = W(K:-1:1, K:-1:1, :, :);
    for n = 1:N
        for s = 1:B
            map = zeros(H, V, class(x)) + b(n);
            for c = 1:C
                map = map + conv2(x(:, :, s, c), turned(:, :, c, n), 'same');
            end
            y(:, :, s, n) = map;
        end
    end
otherwise
    error('unknown form %s', form);
end
end
