// A click on a head sorts its table: numbers as numbers, what is none at the end; again: the other way.
const number = text => {
  const found = text.replace(/[,\u2009\u202f]/g, "").match(/^[^\d-]*(-?\d+(\.\d+)?)/);
  return found ? parseFloat(found[1]) : NaN;
};
function sort(table, column, down) {
  const rows = [...table.rows].slice(1);
  const keys = rows.map(row => row.cells[column] ? row.cells[column].textContent.trim() : "");
  const numeric = keys.filter(key => !isNaN(number(key))).length * 2 > keys.length;
  const compare = (a, b) => {
    if (!numeric) return keys[a].localeCompare(keys[b]);
    const x = number(keys[a]), y = number(keys[b]);
    return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : (x - y) * (down ? -1 : 1);
  };
  const order = rows.map((_, k) => k).sort(compare);
  if (!numeric && down) order.reverse();
  order.forEach(k => table.tBodies[0].append(rows[k]));
}
for (const table of document.querySelectorAll("table")) {
  if (table.rows.length < 3) continue;
  for (const head of table.rows[0].cells) {
    head.tabIndex = 0;
    head.setAttribute("role", "button");
    const act = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, head.cellIndex, down);
    };
    head.addEventListener("click", act);
    head.addEventListener("keydown", event => { if (event.key === "Enter") act(); });
  }
}
