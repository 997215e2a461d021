// Filter and sort the alignments; without JavaScript the page shows all, worst first.
const all = [...document.querySelectorAll("article")];
const box = document.querySelector("#alignments");
const search = document.querySelector("#search");
const order = document.querySelector("#order");
const shown = document.querySelector("#shown");
const chips = [...document.querySelectorAll(".chip")];
const texts = all.map((a) => a.textContent.toLowerCase());
const number = (a, key) => Number(a.dataset[key]);
const orders = {
  errors: (a, b) => number(b, "e") - number(a, "e") || number(b, "r") - number(a, "r"),
  rate: (a, b) => number(b, "r") - number(a, "r") || number(b, "e") - number(a, "e"),
  long: (a, b) => number(b, "n") - number(a, "n"),
  file: (a, b) => number(a, "k") - number(b, "k"),
};
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = chips.filter((c) => c.ariaPressed === "true").map((c) => c.value);
  let count = 0;
  all.forEach((a, k) => {
    const faults = a.dataset.f.split(" ");
    const fits = words.every((w) => texts[k].includes(w)) && wanted.every((f) => faults.includes(f));
    a.hidden = !fits;
    count += fits;
  });
  shown.textContent = `${count} of ${all.length}`;
}
search.addEventListener("input", filter);
chips.forEach((c) => c.addEventListener("click", () => {
  c.ariaPressed = c.ariaPressed === "true" ? "false" : "true";
  filter();
}));
order.addEventListener("change", () => {
  box.append(...[...all].sort(orders[order.value]));
});
