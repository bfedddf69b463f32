// Asks the server for an edit whenever a control moves. One request at a time; of moves meanwhile the last counts.
"use strict";
const at = (id) => document.getElementById(id);
const controls = ["class", "attribute", "method", "seed", "step", "dial"].map(at);
let run, busy = false, moved = false, upload = "";

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
}

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

// The slider's right end is the strongest edit, swap step 0.
const swapStep = () => run.steps - Number(at("step").value);

function describe() {
  const step = swapStep();
  at("step-said").textContent = `${step} of ${run.steps}` + (step === 0 ? ", the strongest edit" : step === run.steps ? ", no edit" : "");
  at("step").setAttribute("aria-valuetext", at("step-said").textContent);
  const { dialled } = run.methods[at("method").value];
  at("dial").disabled = !dialled;
  at("dial-said").textContent = dialled ? at("dial").value : "this method has none";
  at("invent").hidden = !upload;
  at("origin-said").textContent = upload ? "before: your image, as the model's VAE renders it" : "before";
  at("note").textContent = upload
    ? "Your image is in the memory of this server alone: on no disk, and seen by nobody else. Only this machine is asked."
    : "Every image is invented; none shows a patient. Only this machine is asked.";
}

// The dial goes from no effect to twice its usual value.
function choose() {
  const { usual } = run.methods[at("method").value];
  Object.assign(at("dial"), { max: 2 * usual, step: usual / 10, value: usual });
}

async function move() {
  describe();
  if (busy) { moved = true; return; }
  busy = true;
  say("sampling …");
  const asked = new URLSearchParams({
    class: at("class").value, attribute: at("attribute").value, method: at("method").value,
    seed: at("seed").value || "0", swap_step: swapStep(),
    ...(at("dial").disabled ? {} : { dial: at("dial").value }),
    ...(upload ? { upload } : {}),
  });
  try {
    const answer = await fetch(`edit?${asked}`);
    const edit = await answer.json();
    if (answer.ok) show(edit); else say(edit.error, true);
  } catch {
    say("The server does not answer. Start `latentpath explore` again.", true);
  }
  busy = false;
  if (moved) { moved = false; move(); }
}

function show(edit) {
  for (const name of ["origin", "image", "difference"]) at(name).src = edit[name];
  say(`${edit.rows} U-Net rows`);
  at("judge").hidden = !run.judged;
  at("probabilities").replaceChildren(...Object.keys(edit.after).map((name) => {
    const row = document.createElement("tr"), bar = document.createElement("meter");
    row.classList.toggle("asked", name === at("attribute").value);
    bar.value = edit.after[name];
    for (const cell of [name.replaceAll("_", " "), edit.before[name].toFixed(2), edit.after[name].toFixed(2), bar]) {
      const td = document.createElement("td");
      td.append(cell);
      row.append(td);
    }
    return row;
  }));
}

// The server keeps the image in memory and answers with a word for it, which nobody else is told.
async function send() {
  const [file] = at("file").files;
  if (!file) return;
  if (file.size > run.largest) { say(`${file.name} is larger than ${run.largest >> 20} MB`, true); return; }
  say(`reading ${file.name} …`);
  try {
    const answer = await fetch(`upload?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
    const kept = await answer.json();
    if (!answer.ok) { say(kept.error, true); return; }
    upload = kept.upload;
    move();
  } catch {
    say("The server does not answer. Start `latentpath explore` again.", true);
  }
}

function invent() {
  upload = at("file").value = "";
  at("file").focus();
  move();
}

async function start() {
  run = await (await fetch("run")).json();
  document.title = `${run.name} · latentpath explore`;
  at("name").textContent = run.name;
  fill(at("class"), run.classes);
  fill(at("attribute"), run.attributes);
  fill(at("method"), Object.keys(run.methods));
  choose();
  at("method").addEventListener("input", choose);
  at("step").max = run.steps;
  at("step").value = 0;
  at("difference-said").textContent = `difference, ×${run.gain}`;
  at("file").accept = run.kinds.join();
  at("file").addEventListener("change", send);
  at("invent").addEventListener("click", invent);
  for (const control of controls) control.addEventListener("input", move);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  move();
}
start();
