function y = maps_pad(x, p)
%MAPS_PAD  Zeros around each map.
[H, V, B, C] = size4(x);
y = zeros([H+2*p V+2*p B C], class(x));
y(p+1:p+H, p+1:p+V, :, :) = x;
end
