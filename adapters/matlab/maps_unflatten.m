function x = maps_unflatten(y, maps, s)
%MAPS_UNFLATTEN  The reverse of maps_flatten, for maps that were pooled by s.
[H, V, B, C] = size4(maps);
x = permute(reshape(y, [floor(V / s) floor(H / s) C B]), [2 1 4 3]);
end
