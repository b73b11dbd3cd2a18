function y = maps_flatten(x)
%MAPS_FLATTEN  H x W x B x C -> (C H W) x B in PyTorch's order, in which columns run fastest.
y = reshape(permute(x, [2 1 4 3]), [], size(x, 3));
end
