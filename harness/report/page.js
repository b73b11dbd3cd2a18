(() => {
  const cell = (row, n) => row.cells[n];
  const value = td => td.dataset.value ?? td.textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    return isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
  };
  const sort = (table, th) => {
    const n = th.cellIndex, up = th.getAttribute("aria-sort") !== "ascending";
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    const filled = rows.filter(row => value(cell(row, n)) !== "");
    const empty = rows.filter(row => value(cell(row, n)) === "");
    filled.sort((a, b) => (up ? 1 : -1) * compare(cell(a, n), cell(b, n)));
    table.tBodies[0].append(...filled, ...empty);
  };
  const field = text => {
    const safe = /^[=+\-@\t\r]/.test(text) && isNaN(text) ? "'" + text : text;
    return /[",\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  const csv = table => [...table.rows].map(row => [...row.cells].map(each => field(value(each))).join(",")).join("\n");
  const copy = async (table, button) => {
    const text = csv(table) + "\n", said = button.textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  };
  for (const table of document.querySelectorAll("table.data")) {
    for (const th of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      button.addEventListener("click", () => sort(table, th));
      th.append(button);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy as CSV";
    button.setAttribute("aria-label", "Copy as CSV: " + table.caption.textContent);
    button.addEventListener("click", () => copy(table, button));
    table.parentElement.before(button);
  }
  const open = () => {
    const to = location.hash && document.getElementById(location.hash.slice(1));
    for (let each = to; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    if (to) to.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
