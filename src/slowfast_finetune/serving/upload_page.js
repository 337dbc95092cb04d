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
  const megabytes = (bytes) => bytes < 1e5
    ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : bytes < 1e7 ? 1 : 0)} MB`;
  const length = (seconds) => (seconds < 120 ? `${+seconds.toFixed(1)} s` : `${+(seconds / 60).toFixed(1)} min`);

  // The model and its card

  async function loadModel() {
    const loaded = await (await fetch("model")).json();
    model = loaded.model;
    limits = loaded.limits;
    get("model-line").textContent =
      `${model.name} · ${model.class_names.length} classes · ${model.digest.slice(0, 10)}`;
    get("limits").textContent =
      `A video may have up to ${megabytes(limits.max_bytes)}. The server predicts its first ` +
      `${length(limits.max_seconds)} and then deletes it.`;
    get("card-text").replaceChildren(renderCard(loaded.card));
    get("example").textContent =
      `curl --data-binary @video.mp4 -H 'Content-Type: video/mp4' ${location.origin}/predict`;
  }
  const modelLoaded = loadModel().catch(() => showProblem("The server does not answer."));

  // From a file to an answer

  async function predict(file) {
    await modelLoaded;
    stop();
    get("problem").hidden = true;
    if (!limits) return showProblem("The server does not answer.");
    if (file.size > limits.max_bytes) {
      return showProblem(`${file.name} has ${megabytes(file.size)}; at most ${megabytes(limits.max_bytes)} are allowed.`);
    }
    send(file, 1);
  }

  function send(file, attempt) {
    request = new XMLHttpRequest();
    request.open("POST", `predict?explain=true&name=${encodeURIComponent(file.name.slice(0, 200))}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      showStatus(`Sending ${file.name}`, event.lengthComputable ? event.loaded / event.total : null);
    });
    request.upload.addEventListener("load", () => showStatus("Predicting", null));
    request.addEventListener("load", () => receive(file, attempt));
    request.addEventListener("error", () => { hideStatus(); showProblem("The server cannot be reached, or it closed the connection."); });
    showStatus(`Sending ${file.name}`, 0);
    request.send(file);
  }

  function receive(file, attempt) {
    const { status, response } = request;
    const seconds = Number(request.getResponseHeader("Retry-After"));
    request = null;
    if (status === 200) { hideStatus(); return show(file, response); }
    if (status === 503 && attempt < MAX_TRIES) return retryLater(file, attempt, seconds || 5);
    hideStatus();
    const reason = response?.reason ?? `status ${status}`;
    showProblem(`${file.name}: ${response?.detail ?? "the server sent no explanation"}`, reason);
  }

  function retryLater(file, attempt, seconds) {
    showStatus(`The server is busy. The video is sent again in ${seconds} s`, null);
    waiting = setTimeout(() => (seconds > 1 ? retryLater(file, attempt, seconds - 1) : send(file, attempt + 1)), 1000);
  }

  function stop() {
    clearTimeout(waiting);
    request?.abort();
    request = null;
    hideStatus();
  }

  function showStatus(text, share) {
    get("status").hidden = false;
    // A screen reader hears what changed, not every per cent.
    if (get("status-text").textContent !== text) get("status-text").textContent = text;
    if (share === null) get("progress").removeAttribute("value");
    else get("progress").value = share;
  }
  function hideStatus() { get("status").hidden = true; get("status-text").textContent = ""; }
  function showProblem(text, reason) {
    get("problem").replaceChildren(text, ...(reason ? [" ", make("code", { text: reason })] : []));
    get("problem").hidden = false;
    // What an earlier video shows would seem to be the answer.
    document.body.classList.remove("has-result");
    get("result").hidden = true;
    get("video").pause();
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
    get("answer").textContent = known || parts.length < 2 ? spoken(answer.answer) : "several actions";
    get("answer").classList.toggle("none", !known);
    get("answer").style.setProperty("color", known ? colour(answer.label) : "");
    get("confidence").textContent = known
      ? `with a probability of ${percent(answer.confidence)}`
      : answer.doubt === "unlike the training videos"
      ? "This video is unlike the training videos: its distance from them is " +
        `${answer.novelty.toFixed(1)} times the limit. Its most probable class is ${spoken(answer.label)}.`
      : (parts.length ? `Parts of the video show: ${parts.map(spoken).join(", ")}. ` : "") +
        `The most probable class of the whole video is ${spoken(answer.label)}, but its probability, ` +
        `${percent(answer.confidence)}, is below the threshold of ${percent(answer.model.threshold)}.`;
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
      ? "These frames are from the clip with the highest probability of this class. Below each frame, bright regions are those " +
        "that support the class most in the slow and in the fast pathway of the network (Grad-CAM). The maps are coarse."
      : explanation?.note ?? "";
    get("frames").replaceChildren(...frames.map((frame) => {
      const time = make("button", { type: "button", text: `${frame.seconds.toFixed(1)} s`, title: "Show this frame in the video" });
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
      ...(answer.truncated ? [`only the first ${length(limits.max_seconds)} were predicted`] : []),
    ];
    get("facts").textContent = parts.join(" · ");
  }

  // Dropping and choosing

  get("file").addEventListener("change", () => {
    const [file] = get("file").files;
    if (file) predict(file);
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
    predict(files[0]).then(() => {
      if (files.length > 1) showProblem(`${files.length} files were dropped. Only the first one is predicted.`);
    });
  });
})();
