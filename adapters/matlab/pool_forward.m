function y = pool_forward(x, s)
%POOL_FORWARD  The mean of s x s windows; what does not fill one is dropped, as PyTorch does.
[H, V, B, C] = size4(x);
h = floor(H / s);
v = floor(V / s);
windows = reshape(x(1:s*h, 1:s*v, :, :), [s h s v B C]);
y = reshape(sum(sum(windows, 1), 3), [h v B C]) / s ^ 2;
end
