function snn_serve()
%SNN_SERVE  Answers commands, one a line, until its standard input ends.
%
%   A command is "VERB SLOT FILE". A slot holds one network with its batch and what a pass has left
%   of it; FILE is a MAT file that is read or written, or "-". The answer is a line of JSON:
%   {"ok": true, "loss": 0.25} or {"ok": false, "error": "what was wrong"}. An empty line follows
%   each command: Octave gives a line only when it has seen a character of the next.
commands = fopen('/dev/stdin', 'r');
slots = {};
while true
    line = fgetl(commands);
    if ~ischar(line)                       % the owner is gone
        return
    end
    if isempty(line)
        continue
    end
    words = strsplit(line, ' ');
    slot = str2double(words{2});
    if slot > numel(slots)
        slots{slot} = struct();
    end
    try
        [slots{slot}, loss] = snn_do(slots{slot}, words{1}, words{3});
        fprintf('{"ok": true, "loss": %.17g}\n', loss);
    catch problem
        text = regexprep(problem.message, '[\\"]', ' ');
        fprintf('{"ok": false, "error": "%s"}\n', regexprep(text, '\s+', ' '));
    end
    if exist('OCTAVE_VERSION', 'builtin')
        fflush(stdout);
    end
end
end
