// The trajectory slider: picture by picture along a path, with what the classifier says of each.
// `page` is the data that slider.py wrote; `explore(class, seed, attribute, position)` is for the map.
const page = JSON.parse(document.getElementById("page-data").textContent);
const byId = (id) => document.getElementById(id);
const make = (tag, attributes = {}, text = "") => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
};

const sheets = new Map();
for (const sheet of page.explorer?.sheets ?? []) sheets.set(`${sheet.class}|${sheet.seed}|${sheet.track}`, sheet);

// Decodes a sheet when it is first needed.
function decoded(sheet) {
  sheet.image ??= new Image();
  if (!sheet.image.src) sheet.image.src = sheet.uri;
  sheet.ready ??= sheet.image.decode();
  return sheet.ready;
}

// Where a picture lies in its sheet: the neutral one stands alone below the swaps, or is frame 0.
function place(sheet, attribute, position) {
  if (!sheet.lone) return [position, attribute];
  return position === 0 ? [0, sheet.probs.length] : [position - 1, attribute];
}

// Draws one picture, or how far its pixels differ from the neutral one: black = by half the range or more.
async function draw(canvas, sheet, attribute, position, change = false) {
  const turn = (canvas.turn = (canvas.turn ?? 0) + 1);
  await decoded(sheet);
  if (turn !== canvas.turn) return; // a later picture was asked for meanwhile
  const side = sheet.side;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = (at) => {
    const [x, y] = place(sheet, attribute, at);
    pen.drawImage(sheet.image, x * side, y * side, side, side, 0, 0, side, side);
    return change ? pen.getImageData(0, 0, side, side) : null;
  };
  const edited = pixels(position);
  if (change) {
    const neutral = pixels(0).data;
    const data = edited.data;
    for (let i = 0; i < data.length; i += 4) {
      const most = Math.max(...[0, 1, 2].map((c) => Math.abs(data[i + c] - neutral[i + c])));
      data[i] = data[i + 1] = data[i + 2] = 255 - Math.min(255, 2 * Math.max(0, most - 4));
    }
    pen.putImageData(edited, 0, 0);
  }
  canvas.classList.toggle("crisp", side <= 128);
  canvas.dataset.shown = `${sheet.class}|${sheet.seed}|${sheet.track}|${attribute}|${position}|${change}`;
}

const explore = (() => {
  const data = page.explorer;
  if (!data) return null;
  const [root, range, strip] = [byId("explorer"), byId("x-step"), byId("x-strip")];
  const fields = { class: byId("x-class"), attribute: byId("x-attribute"), seed: byId("x-seed"), track: byId("x-track") };
  const fill = (select, options) => {
    const old = select.value;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    if (options.some(([value]) => String(value) === old)) select.value = old;
    select.closest("label").hidden = options.length < 2;
  };
  fill(fields.class, data.classes.map((text, i) => [i, text]).filter(([c]) => data.sheets.some((s) => s.class === c)));
  fill(fields.attribute, data.attributes.map((text, i) => [i, text]));

  const at = () => Object.fromEntries(Object.entries(fields).map(([key, select]) => [key, Number(select.value)]));
  const current = () => sheets.get(`${at().class}|${at().seed}|${at().track}`);

  // Rows of the probabilities: the attribute that is asked for first.
  const names = [...data.heads, ...(data.deciding ? data.classes : [])];
  const rows = names.map((name, h) => {
    const row = make("tr", h === data.heads.length ? { class: "first-class" } : {});
    const bar = make("td", { class: "bar", "aria-hidden": "true" });
    bar.append(make("i"), make("b"));
    row.append(make("th", { scope: "row" }, name), bar, make("td", { class: "p" }), make("td", { class: "d" }));
    byId("x-probs").append(row);
    return row;
  });
  byId("explorer").style.setProperty("--limit", `${100 * data.threshold}%`);

  let speaking = 0;
  function show() {
    const sheet = current();
    const { attribute, track } = at();
    const { labels, descriptions } = data.tracks[track];
    const position = Number(range.value);
    const probs = sheet.probs[attribute][position];
    const before = sheet.probs[attribute][0];
    range.setAttribute("aria-valuetext", descriptions[position]);
    byId("x-where").textContent = descriptions[position];
    [...strip.children].forEach((tile, k) => tile.classList.toggle("now", k === position));
    draw(byId("x-neutral"), sheet, attribute, 0);
    byId("x-missing").hidden = Boolean(probs);
    const change = byId("x-change").checked;
    draw(byId("x-edited"), sheet, attribute, position, change);
    const who = `${data.classes[at().class]}, seed ${at().seed}`;
    byId("x-neutral").setAttribute("aria-label", `${who}, neutral`);
    const what = change ? "pixels that differ from neutral in: " : "";
    byId("x-edited").setAttribute("aria-label", `${what}${who}, toward ${data.attributes[attribute]}, ${descriptions[position]}`);
    const spoken = [];
    rows.forEach((row, h) => {
      const [value, first] = [probs?.[h] ?? null, before?.[h] ?? null];
      const decided = (p) => (h < data.heads.length ? p > 1000 * data.threshold : null);
      row.classList.toggle("asked", h === attribute);
      row.classList.toggle("on", value !== null && decided(value) === true);
      row.classList.toggle("turned", value !== null && first !== null && h !== attribute && decided(value) !== decided(first));
      row.style.setProperty("--p", value === null ? "0%" : `${value / 10}%`);
      row.style.setProperty("--n", first === null ? "-9%" : `${first / 10}%`);
      row.children[2].textContent = value === null ? "n/a" : (value / 1000).toFixed(2);
      const moved = value === null || first === null ? null : (value - first) / 1000;
      row.children[3].textContent = moved === null || Math.abs(moved) < 0.005 ? "" : `${moved < 0 ? "−" : "+"}${Math.abs(moved).toFixed(2)}`;
      if (value !== null) spoken.push(`${names[h]} ${(value / 1000).toFixed(2)}`);
    });
    clearTimeout(speaking); // a screen reader hears where the slider rests, not each place that it passes
    speaking = setTimeout(() => (byId("x-say").textContent = `${descriptions[position]}: ${spoken.join(", ") || "no picture"}`), 250);
  }

  // After another class or path was chosen: which seeds and paths there are, and the strip of small pictures.
  function arrange() {
    const there = (c, t) => data.sheets.filter((s) => s.class === c && s.track === t).map((s) => s.seed);
    fill(fields.seed, there(at().class, 0).map((seed) => [seed, String(seed)]));
    const { class: c, seed } = at();
    fill(fields.track, data.tracks.map((t, i) => [i, t.name]).filter(([t]) => sheets.has(`${c}|${seed}|${t}`)));
    const { attribute, track } = at();
    const { labels } = data.tracks[track];
    const last = labels.length - 1;
    if (Number(range.max) !== last) {
      const share = Number(range.value) / (Number(range.max) || 1);
      range.max = last;
      range.value = Math.round(share * last);
    }
    root.style.setProperty("--count", labels.length);
    strip.classList.toggle("many", labels.length > 12);
    strip.replaceChildren(
      ...labels.map((label, k) => {
        const tile = make("div");
        const picture = make("canvas", { width: 1, height: 1 });
        tile.append(picture, make("span", {}, label));
        tile.addEventListener("click", () => { range.value = k; range.focus(); show(); });
        if (current().probs[attribute][k]) draw(picture, current(), attribute, k);
        return tile;
      }),
    );
    show();
  }

  let playing = 0;
  const play = byId("x-play");
  const stop = () => { clearInterval(playing); playing = 0; play.textContent = "Play"; };
  play.addEventListener("click", () => {
    if (playing) return stop();
    if (range.value === range.max) range.value = 0;
    play.textContent = "Stop";
    playing = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (range.value === range.max) stop();
    }, 450);
  });
  range.addEventListener("input", () => { stop(); show(); });
  byId("x-change").addEventListener("change", show);
  for (const select of Object.values(fields)) select.addEventListener("change", () => { stop(); arrange(); });
  range.max = data.tracks[0].labels.length - 1;
  range.value = range.max;
  root.hidden = false;
  arrange();

  return (c, seed, attribute, position) => {
    stop();
    fields.class.value = c;
    fill(fields.seed, data.sheets.filter((s) => s.class === c && s.track === 0).map((s) => [s.seed, String(s.seed)]));
    [fields.seed.value, fields.attribute.value, fields.track.value] = [seed, Math.max(attribute, 0), 0];
    arrange();
    range.value = position;
    show();
    root.scrollIntoView({ block: "center" });
    range.focus({ preventScroll: true });
  };
})();
