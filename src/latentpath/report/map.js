// The t-SNE map: the point under the pointer, or the one that its slider stands on, by name and in a picture.
(() => {
  const [data, holder] = [page.map, byId("map")];
  if (!data || !holder) return;
  const svg = holder.querySelector("svg");
  const [card, picture, text] = [byId("map-card"), byId("map-picture"), byId("map-text")];
  const range = byId("map-step");
  range.max = data.points.length - 1;
  byId("map-walk").hidden = false;
  const ring = document.createElementNS(svg.namespaceURI, "circle");
  ring.setAttribute("r", 7);
  ring.setAttribute("class", "ring");
  ring.setAttribute("visibility", "hidden");
  svg.append(ring);

  const named = ([, , c, seed, a, step]) => {
    const toward = a < 0 ? "neutral" : `toward ${data.attributes[a]}, swap at step ${step}`;
    return `${data.classes.length > 1 ? `${data.classes[c]}, ` : ""}seed ${seed}, ${toward}`;
  };
  // [sheet, attribute, position] of a point, null where its picture is not in the page.
  const pictured = ([, , c, seed, a, step]) => {
    const sheet = sheets.get(`${c}|${seed}|0`);
    const position = a < 0 ? 0 : data.steps.indexOf(step);
    return sheet && position >= 0 && sheet.probs[Math.max(a, 0)][position] ? [sheet, Math.max(a, 0), position] : null;
  };

  function show(index) {
    const point = data.points[index];
    const box = svg.viewBox.baseVal;
    ring.setAttribute("cx", point[0]);
    ring.setAttribute("cy", point[1]);
    ring.setAttribute("visibility", "visible");
    const found = pictured(point);
    picture.hidden = !found;
    if (found) draw(picture, ...found);
    text.textContent = named(point);
    card.hidden = false;
    card.style.left = `${(100 * point[0]) / box.width}%`;
    card.style.top = `${(100 * point[1]) / box.height}%`;
    card.classList.toggle("left", point[0] > box.width / 2);
    card.classList.toggle("up", point[1] > box.height / 2);
    range.value = index;
    range.setAttribute("aria-valuetext", named(point));
    card.dataset.index = index;
  }

  function nearest(event) {
    const [frame, box] = [svg.getBoundingClientRect(), svg.viewBox.baseVal];
    const scale = box.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    let [best, index] = [(14 * Math.max(scale, 1)) ** 2, -1];
    data.points.forEach((point, i) => {
      const away = (point[0] - x) ** 2 + (point[1] - y) ** 2;
      if (away < best) [best, index] = [away, i];
    });
    return index;
  }
  const hide = () => { card.hidden = true; ring.setAttribute("visibility", "hidden"); };
  const open = (index) => {
    const found = pictured(data.points[index]);
    if (found && explore) explore(found[0].class, found[0].seed, found[1], found[2]);
  };
  svg.addEventListener("pointermove", (event) => { const index = nearest(event); index < 0 ? hide() : show(index); });
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  // A finger has no hover: its first touch names the point, and the slider below opens it.
  svg.addEventListener("pointerdown", (event) => { const index = nearest(event); if (index >= 0) show(index); });
  svg.addEventListener("click", (event) => {
    const index = nearest(event);
    if (index >= 0 && event.pointerType !== "touch") open(index);
  });
  range.addEventListener("focus", () => show(Number(range.value)));
  range.addEventListener("input", () => show(Number(range.value)));
  range.addEventListener("blur", hide);
  range.addEventListener("keydown", (event) => { if (event.key === "Enter") open(Number(range.value)); if (event.key === "Escape") hide(); });
})();
