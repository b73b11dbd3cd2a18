"""Networks and weights as files that other programs read: NIR graphs and safetensors."""
