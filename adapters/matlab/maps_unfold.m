function columns_ = maps_unfold(x, K)
%MAPS_UNFOLD  im2col for K x K kernels: H x W x B x C -> (H W B) x (K K C).
[H, V, B, C] = size4(x);
x = maps_pad(x, (K - 1) / 2);
columns_ = zeros([H*V*B K K C], class(x));
for j = 1:K
    for i = 1:K
        columns_(:, i, j, :) = reshape(x(i:i+H-1, j:j+V-1, :, :), [H*V*B 1 1 C]);
    end
end
columns_ = reshape(columns_, [H*V*B K*K*C]);
end
