// Asks the server for an edit whenever a control changes. Only one request runs at a time: of the changes made
// meanwhile, the last one is asked for next.
"use strict";
const byId = (id) => document.getElementById(id);
const controls = ["class", "attribute", "method", "seed", "step", "dial"].map(byId);
const noServer = "The server does not answer. Start `latentpath explore` again.";
let run, busy = false, changed = false, upload = "";

const words = (name) => name.replaceAll("_", " ");

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(words(name), name)));
}

function setStatus(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

// The right end of the slider is the strongest edit, swap step 0.
const swapStep = () => run.steps - Number(byId("step").value);

function describeControls() {
  const step = swapStep();
  const text = `${step} of ${run.steps}` + (step === 0 ? ", the strongest edit" : step === run.steps ? ", no edit" : "");
  byId("step-value").textContent = text;
  byId("step").setAttribute("aria-valuetext", text);
  const { has_dial } = run.methods[byId("method").value];
  byId("dial").disabled = !has_dial;
  byId("dial-value").textContent = has_dial ? byId("dial").value : "this method has none";
  byId("remove-upload").hidden = !upload;
  byId("origin-caption").textContent = upload ? "before: your image, as the model's VAE renders it" : "before";
  byId("note").textContent = upload
    ? "Your image is only in the memory of this server: it is on no disk, and nobody else can see it. Only this machine is asked."
    : "The model generated these images. Only this machine is asked.";
}

// The dial goes from no effect to twice its default.
function resetDial() {
  const dial = run.methods[byId("method").value].default;
  Object.assign(byId("dial"), { max: 2 * dial, step: dial / 10, value: dial });
}

async function requestEdit() {
  describeControls();
  if (busy) { changed = true; return; }
  busy = true;
  setStatus("sampling …");
  const query = new URLSearchParams({
    class: byId("class").value, attribute: byId("attribute").value, method: byId("method").value,
    seed: byId("seed").value || "0", swap_step: swapStep(),
    ...(byId("dial").disabled ? {} : { dial: byId("dial").value }),
    ...(upload ? { upload } : {}),
  });
  try {
    const answer = await fetch(`edit?${query}`);
    const edit = await answer.json();
    if (answer.ok) showEdit(edit); else setStatus(edit.error, true);
  } catch {
    setStatus(noServer, true);
  }
  busy = false;
  if (changed) { changed = false; requestEdit(); }
}

function showEdit(edit) {
  for (const name of ["origin", "image", "difference"]) byId(name).src = edit[name];
  setStatus(`${edit.rows} U-Net rows`);
  byId("judge").hidden = !run.judged;
  byId("probabilities").replaceChildren(...Object.keys(edit.after).map((name) => {
    const row = document.createElement("tr"), bar = document.createElement("meter");
    row.classList.toggle("edited", name === byId("attribute").value);
    bar.value = edit.after[name];
    for (const cell of [words(name), edit.before[name].toFixed(2), edit.after[name].toFixed(2), bar]) {
      const td = document.createElement("td");
      td.append(cell);
      row.append(td);
    }
    return row;
  }));
}

// The server keeps the image in memory and answers with a secret token, which nobody else receives.
async function sendUpload() {
  const [file] = byId("file").files;
  if (!file) return;
  if (file.size > run.max_bytes) {
    setStatus(`${file.name} is larger than ${run.max_bytes >> 20} MB: choose a smaller image`, true);
    return;
  }
  setStatus(`reading ${file.name} …`);
  try {
    const answer = await fetch(`upload?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
    const kept = await answer.json();
    if (!answer.ok) { setStatus(kept.error, true); return; }
    upload = kept.upload;
    requestEdit();
  } catch {
    setStatus(noServer, true);
  }
}

function removeUpload() {
  upload = byId("file").value = "";
  byId("file").focus();
  requestEdit();
}

async function start() {
  run = await (await fetch("run")).json();
  document.title = `${run.name} · latentpath explore`;
  byId("name").textContent = run.name;
  fill(byId("class"), run.classes);
  fill(byId("attribute"), run.attributes);
  fill(byId("method"), Object.keys(run.methods));
  resetDial();
  byId("method").addEventListener("input", resetDial);
  byId("step").max = run.steps;
  byId("step").value = 0;
  byId("difference-caption").textContent = `difference, ×${run.gain}`;
  byId("file").accept = run.upload_suffixes.join();
  byId("file").addEventListener("change", sendUpload);
  byId("remove-upload").addEventListener("click", removeUpload);
  for (const control of controls) control.addEventListener("input", requestEdit);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  requestEdit();
}
start();
