"use strict";
(() => {
  const root = document.documentElement;
  const get = (id) => document.getElementById(id);
  const NONE = "none of these";
  const TOP = 5;
  const MAX_TRIES = 6;
  const COLOURS = 8;
  let model = null;
  let limits = null;
  let request = null; // the upload under way
  let waiting = null; // a timer until the next try
  let address = null; // of the video that is shown
  let duration = 0;

  get("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark" ||
      (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private windows */ }
  });

  function make(tag, { text, ...values } = {}, ...children) {
    const element = Object.assign(document.createElement(tag), values);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  }
  const percent = (value) => `${(value * 100).toFixed(value > 0.9995 || value < 0.0005 ? 0 : 1)}\u202f%`;
  const spoken = (name) => (name === null ? NONE : name.replaceAll("_", " "));
  const colour = (name) => `var(--k${Math.max(0, model.class_names.indexOf(name)) % COLOURS})`;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : bytes < 1e7 ? 1 : 0)} MB`;
  const length = (seconds) => (seconds < 120 ? `${+seconds.toFixed(1)} s` : `${+(seconds / 60).toFixed(1)} min`);

  // The model and its card

  async function introduce() {
    const said = await (await fetch("model")).json();
    model = said.model;
    limits = said.limits;
    get("model-line").textContent =
      `${model.name} · ${model.class_names.length} classes · ${model.digest.slice(0, 10)}`;
    get("limits").textContent =
      `Up to ${megabytes(limits.max_bytes)}; the first ${length(limits.max_seconds)} are looked at. ` +
      "This server deletes it afterwards.";
    get("card-text").replaceChildren(renderCard(said.card));
    get("example").textContent =
      `curl --data-binary @video.mp4 -H 'Content-Type: video/mp4' ${location.origin}/predict`;
  }
  const introduced = introduce().catch(() => complain("The server does not answer."));

  // From a file to an answer

  async function ask(file) {
    await introduced;
    stop();
    get("problem").hidden = true;
    if (!limits) return complain("The server does not answer.");
    if (file.size > limits.max_bytes) {
      return complain(`${file.name}: has ${megabytes(file.size)}, and ${megabytes(limits.max_bytes)} are allowed.`);
    }
    send(file, 1);
  }

  function send(file, attempt) {
    request = new XMLHttpRequest();
    request.open("POST", `predict?explain=true&name=${encodeURIComponent(file.name.slice(0, 200))}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      tell(`Sending ${file.name}`, event.lengthComputable ? event.loaded / event.total : null);
    });
    request.upload.addEventListener("load", () => tell("Predicting", null));
    request.addEventListener("load", () => heard(file, attempt));
    request.addEventListener("error", () => { quiet(); complain("The server cannot be reached, or ended the connection."); });
    tell(`Sending ${file.name}`, 0);
    request.send(file);
  }

  function heard(file, attempt) {
    const { status, response } = request;
    const seconds = Number(request.getResponseHeader("Retry-After"));
    request = null;
    if (status === 200) { quiet(); return show(file, response); }
    if (status === 503 && attempt < MAX_TRIES) return later(file, attempt, seconds || 5);
    quiet();
    const reason = response?.reason ?? `status ${status}`;
    complain(`${file.name}: ${response?.detail ?? "no answer"}`, reason);
  }

  function later(file, attempt, seconds) {
    tell(`Server busy; retrying in ${seconds} s`, null);
    waiting = setTimeout(() => (seconds > 1 ? later(file, attempt, seconds - 1) : send(file, attempt + 1)), 1000);
  }

  function stop() {
    clearTimeout(waiting);
    request?.abort();
    request = null;
    quiet();
  }

  function tell(text, share) {
    get("status").hidden = false;
    // A screen reader hears what changed, not every per cent.
    if (get("status-text").textContent !== text) get("status-text").textContent = text;
    if (share === null) get("progress").removeAttribute("value");
    else get("progress").value = share;
  }
  function quiet() { get("status").hidden = true; get("status-text").textContent = ""; }
  function complain(text, reason) {
    get("problem").replaceChildren(text, ...(reason ? [" ", make("code", { text: reason })] : []));
    get("problem").hidden = false;
  }

  // An answer

  function show(file, answer) {
    document.body.classList.add("has-result");
    get("result").hidden = false;
    play(file);
    duration = answer.duration_seconds;
    get("name").textContent = file.name;
    const known = answer.answer !== null;
    const parts = found(answer);
    get("answer").textContent = known || parts.length < 2 ? spoken(answer.answer) : "several of these";
    get("answer").classList.toggle("none", !known);
    get("answer").style.setProperty("color", known ? colour(answer.label) : "");
    get("confidence").textContent = known
      ? `with a probability of ${percent(answer.confidence)}`
      : answer.doubt === "unlike the training videos"
      ? `Unlike the training videos: ${answer.novelty.toFixed(1)} times as far from them as nearly all ` +
        `videos like them. Of the classes most like ${spoken(answer.label)}.`
      : (parts.length ? `In parts: ${parts.map(spoken).join(", ")}. ` : "") +
        `As a whole between classes: most probably ${spoken(answer.label)}, but ${percent(answer.confidence)} ` +
        `is below ${percent(answer.model.threshold)}.`;
    bars(answer);
    timeline(answer);
    mattered(answer.explanation);
    facts(file, answer);
    get("answer").focus({ preventScroll: true });
    get("result").scrollIntoView({ block: "nearest" });
  }

  // A video of several actions may be none of them as a whole.
  function found(answer) {
    return [...new Set(answer.segments.map((segment) => segment.answer))].filter((name) => name !== null);
  }

  function play(file) {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    const video = get("video");
    video.hidden = false;
    get("unplayable").hidden = true;
    video.src = address;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
  }
  get("video").addEventListener("error", () => { get("video").hidden = true; get("unplayable").hidden = false; });

  function bars(answer) {
    const ranked = Object.entries(answer.probabilities);
    const bar = ([name, value]) => {
      const isLabel = name === answer.label;
      const fill = make("i", { className: "fill" });
      fill.style.setProperty("--p", value);
      fill.style.setProperty("--c", isLabel ? colour(name) : "");
      const mark = make("i", { className: "mark" });
      mark.style.setProperty("--t", answer.model.threshold);
      const track = make("span", { className: "track", ariaHidden: "true" }, fill, ...(isLabel ? [mark] : []));
      return make("div", { className: isLabel ? "bar model" : "bar" },
        make("span", { className: "name", text: spoken(name) }), track,
        make("span", { className: "value", text: percent(value) }));
    };
    get("bars").replaceChildren(...ranked.slice(0, TOP).map(bar));
    const others = ranked.slice(TOP);
    get("others").hidden = others.length === 0;
    get("others").querySelector("summary").textContent = `${others.length} more`;
    get("others").querySelector(".bars").replaceChildren(...others.map(bar));
  }

  function timeline(answer) {
    const parts = answer.segments.map((segment) => {
      const times = `${length(segment.start_seconds)} to ${length(segment.end_seconds)}`;
      const words = `${spoken(segment.answer)}, ${times}, ${percent(segment.confidence)}`;
      const part = make("button", {
        type: "button", text: spoken(segment.answer), title: words, ariaLabel: words,
        className: segment.answer === null ? "none" : "",
      });
      part.style.setProperty("--from", segment.start_seconds / duration);
      part.style.setProperty("--share", (segment.end_seconds - segment.start_seconds) / duration);
      if (segment.answer !== null) part.style.setProperty("--c", colour(segment.answer));
      part.addEventListener("click", () => seek(segment.start_seconds));
      return part;
    });
    get("timeline").replaceChildren(...parts, make("i", { ariaHidden: "true" }));
    get("end").textContent = length(duration);
  }
  function seek(seconds) { get("video").currentTime = seconds; }
  function follow() {
    const now = Math.min(1, get("video").currentTime / (duration || 1));
    get("timeline").style.setProperty("--now", now);
    if (!get("video").paused) requestAnimationFrame(follow);
  }
  for (const event of ["play", "seeked", "timeupdate"]) get("video").addEventListener(event, follow);

  function mattered(explanation) {
    const frames = explanation?.frames ?? [];
    get("mattered-note").textContent = frames.length
      ? "From the clip with the highest probability of this answer: each frame, and under it where the slow and the fast pathway " +
        "of the network found the evidence (Grad-CAM; bright is strong). The places are coarse."
      : explanation?.note ?? "";
    get("frames").replaceChildren(...frames.map((frame) => {
      const time = make("button", { type: "button", text: `${frame.seconds.toFixed(1)} s`, title: "show it in the video" });
      time.addEventListener("click", () => { get("video").pause(); seek(frame.seconds); });
      const picture = (src, words) => make("figure", { className: "look" },
        make("img", { src, alt: `${words} at ${frame.seconds.toFixed(1)} s` }), make("span", { text: words, ariaHidden: "true" }));
      return make("figure", {},
        make("div", { className: "one" }, make("img", { src: frame.frame, alt: `frame at ${frame.seconds.toFixed(1)} s` })),
        make("div", { className: "pair" }, picture(frame.slow, "slow"), picture(frame.fast, "fast")),
        make("figcaption", {}, time, make("span", { text: `evidence ${Math.round(frame.weight * 100)} %` })));
    }));
  }

  function facts(file, answer) {
    const timing = answer.timing;
    const parts = [
      length(duration), megabytes(file.size),
      `predicted in ${timing.predicting_seconds.toFixed(2)} s`,
      ...(timing.waiting_seconds >= 0.5 ? [`waited ${timing.waiting_seconds.toFixed(1)} s`] : []),
      ...(answer.truncated ? [`only the first ${length(limits.max_seconds)} were looked at`] : []),
    ];
    get("facts").textContent = parts.join(" · ");
  }

  // Dropping and choosing

  get("file").addEventListener("change", () => {
    const [file] = get("file").files;
    if (file) ask(file);
    get("file").value = "";
  });
  get("drop").addEventListener("submit", (event) => event.preventDefault());
  get("cancel").addEventListener("click", stop);
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    get("drop").classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(0);
    const files = event.dataTransfer?.files ?? [];
    if (!files.length) return;
    ask(files[0]).then(() => {
      if (files.length > 1) complain(`${files.length} files were dropped; the first one is looked at.`);
    });
  });
})();
