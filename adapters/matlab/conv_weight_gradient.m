function dW = conv_weight_gradient(x, d, K, form)
%CONV_WEIGHT_GRADIENT  From what went in and dL/dy to dL/dW, K x K x C x N.
[H, V, B, C] = size4(x);
N = size(d, 4);
if strcmp(form, 'im2col')
    dW = reshape(maps_unfold(x, K)' * reshape(d, [], N), [K K C N]);
    return
end
x = maps_pad(x, (K - 1) / 2);
dW = zeros([K K C N], class(x));
switch form
case 'convn'
    turned = d(H:-1:1, V:-1:1, B:-1:1, :);
    for n = 1:N
        dW(:, :, :, n) = reshape(convn(x, turned(:, :, :, n), 'valid'), [K K C]);
    end
case 'conv2'
    turned = d(H:-1:1, V:-1:1, :, :);
    for n = 1:N
        for c = 1:C
            taps = zeros(K, K, class(x));
            for s = 1:B
                taps = taps + conv2(x(:, :, s, c), turned(:, :, s, n), 'valid');
            end
            dW(:, :, c, n) = taps;
        end
    end
end
end
