// Two buttons below each table: its text as LaTeX and as CSV, onto the clipboard.
(() => {
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // not allowed from this place: the old way, through a selection
      const area = make("textarea", { class: "vh", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const figure of document.querySelectorAll("figure[data-table]")) {
    const copies = page.copies[figure.dataset.table];
    if (!copies) continue;
    const line = make("p", { class: "copy" });
    for (const [kind, text] of Object.entries(copies)) {
      const label = `Copy as ${kind}: ${figure.querySelector("caption").textContent.trim()}`;
      const button = make("button", { type: "button", "aria-label": label, "data-kind": kind }, kind);
      button.addEventListener("click", async () => {
        await copy(text);
        button.textContent = "copied";
        byId("copied").textContent = `${kind} copied`;
        setTimeout(() => { button.textContent = kind; byId("copied").textContent = ""; }, 1500);
      });
      line.append(button);
    }
    figure.append(line);
  }
})();
