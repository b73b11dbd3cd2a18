function dx = pool_backward(d, s, maps)
%POOL_BACKWARD  Each window's gradient in equal parts to its entries; zero to what was dropped.
[h, v, B, C] = size4(d);
dx = zeros(size(maps), class(d));
spread = repmat(reshape(d / s ^ 2, [1 h 1 v B C]), [s 1 s 1 1 1]);
dx(1:s*h, 1:s*v, :, :) = reshape(spread, [s*h s*v B C]);
end
