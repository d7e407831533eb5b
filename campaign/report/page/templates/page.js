// What the page does where scripts run. Without them everything is there to read: nothing is hidden until it is clicked.
const root = document.documentElement;

// --- tables: sort by a heading, filter by words ---
const amount = text => {
  const found = text.replace(/[\u202f\s]/g, "").replace(/−/g, "-").match(/[-+]?\d*\.?\d+(?:e[-+]?\d+)?/i);
  return found ? parseFloat(found[0]) : NaN;
};
const compare = (a, b, numeric) => {
  if (!numeric) return a.localeCompare(b, undefined, {numeric: true});
  const [x, y] = [amount(a), amount(b)];
  return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : x - y;
};
for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0], original = [...body.rows];
  if (original.length < 2) continue;
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = Object.assign(document.createElement("button"), {type: "button", className: "sort", title: "sort by this"});
    button.append(...heading.childNodes);
    heading.append(button);
    const numeric = heading.classList.contains("n");
    button.onclick = () => {
      const next = {none: "ascending", ascending: "descending", descending: "none"}[heading.getAttribute("aria-sort") || "none"];
      for (const other of headings) other.removeAttribute("aria-sort");
      const text = row => row.cells[column].textContent.trim();
      const rows = next === "none" ? original : original.slice().sort((a, b) => {
        const [x, y] = [text(a), text(b)];
        if (x === "–" || y === "–") return (x === "–") - (y === "–");  // what is not known comes last either way
        return compare(x, y, numeric) * (next === "ascending" ? 1 : -1);
      });
      if (next !== "none") heading.setAttribute("aria-sort", next);
      body.append(...rows);
    };
  });
  const tools = Object.assign(document.createElement("div"), {className: "tools"});
  const field = Object.assign(document.createElement("input"), {type: "search", placeholder: "filter these rows"});
  field.setAttribute("aria-label", `filter the rows of ${table.dataset.name}`);
  const left = document.createElement("span");
  left.setAttribute("role", "status");
  field.oninput = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of original) {
      row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
      shown += !row.hidden;
    }
    left.textContent = words.length ? `${shown} of ${original.length} rows` : "";
  };
  tools.append(field, left);
  table.parentElement.before(tools);
}

// --- a region that scrolls can be reached by the keyboard, one that does not is no stop on the way ---
const regions = document.querySelectorAll(".scroll, .chart");
const reach = () => {
  for (const region of regions) {
    if (region.scrollWidth > region.clientWidth + 1) region.tabIndex = 0; else region.removeAttribute("tabindex");
  }
};
const watching = new ResizeObserver(reach);
for (const region of regions) watching.observe(region);

// --- queries can be copied ---
async function copy(text) {
  try { await navigator.clipboard.writeText(text); }
  catch (e) {
    const area = Object.assign(document.createElement("textarea"), {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.onclick = async () => {
    await copy(button.nextElementSibling.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  };
}

// --- the contents list follows ---
const contents = document.querySelector("nav details"), beside = matchMedia("(min-width:1240px)");
const open = () => { contents.open = beside.matches; };
beside.addEventListener("change", open);
open();
const places = [...document.querySelectorAll("nav a")].map(link => ({link, at: document.getElementById(link.hash.slice(1))}));
let waiting = false;
function follow() {
  waiting = false;
  let here = places[0];
  for (const place of places) if (place.at.getBoundingClientRect().top < innerHeight / 4) here = place;
  for (const item of document.querySelectorAll("nav .here")) item.classList.remove("here");
  for (const {link} of places) link.removeAttribute("aria-current");
  here.link.setAttribute("aria-current", "true");
  for (let item = here.link.closest("li"); item; item = item.parentElement.closest("li")) item.classList.add("here");
  if (beside.matches) here.link.scrollIntoView({block: "nearest"});
}
addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(follow); } }, {passive: true});
follow();

// --- a link into something folded away unfolds it ---
function unfold() {
  const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let it = at && at.closest("details"); it; it = it.parentElement.closest("details")) it.open = true;
  if (at) at.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();

// --- figures in the reader's theme; a click on a run opens its raw files ---
const raw = Object.fromEntries([...document.querySelectorAll("td a[href^='../attempts/']")].map(link => [link.textContent, link.getAttribute("href")]));
var drawn;  // kept when every figure stands
function draw(theme) {
  drawn = Promise.all([...document.querySelectorAll("[data-figure]")].map(box => {
    const spec = Object.assign({}, specifications[box.dataset.figure], {config: themes[theme]});
    return vegaEmbed(box, spec, {renderer: "svg", actions: false, tooltip: {theme}}).then(({view}) => {
      box.querySelector("svg").setAttribute("aria-hidden", "true");  // named by its heading and caption; a mark by itself says nothing
      view.addEventListener("click", (_, item) => { if (item && item.datum && item.datum.run_id in raw) location.href = raw[item.datum.run_id]; });
    }).catch(console.error);
  })).then(reach);
}
function choose(theme) { root.dataset.theme = theme; draw(theme); }
const toggle = document.getElementById("theme");
toggle.hidden = false;
toggle.onclick = () => {
  const next = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("campaign-theme", next); } catch (e) {}
  choose(next);
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", e => choose(e.matches ? "dark" : "light"));

// --- print: in light colours, and every table as small as it must be to fit its page ---
const MM = 96 / 25.4, ROOM = {portrait: (210 - 26) * MM, landscape: (297 - 26) * MM};
let before;
addEventListener("beforeprint", () => {
  before = root.dataset.theme;
  if (before === "dark") choose("light");
  root.classList.add("printing");
  for (const table of document.querySelectorAll("main table")) {
    const room = table.closest("section.wide") ? ROOM.landscape : ROOM.portrait;
    table.style.cssText = "width:min-content";
    const needed = table.offsetWidth;
    table.style.cssText = needed > room ? `zoom:${Math.floor(1000 * room / needed) / 1000}` : "";
  }
});
addEventListener("afterprint", () => {
  root.classList.remove("printing");
  for (const table of document.querySelectorAll("main table")) table.style.cssText = "";
  if (before === "dark") choose("dark");
});
draw(root.dataset.theme);
