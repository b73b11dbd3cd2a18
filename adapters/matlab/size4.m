function [a, b, c, d] = size4(x)
%SIZE4  Four sizes, also where the last are 1, which MATLAB drops.
a = size(x, 1);
b = size(x, 2);
c = size(x, 3);
d = size(x, 4);
end
