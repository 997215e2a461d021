// The page of a server: speak or drop a file, see words with times and confidence, ask questions.
// Whatever comes from a model is put in as text, never as markup.
const $ = (name) => document.getElementById(name);
let model = null, token = "", sound = null, picture = null, live = null;

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});
const trouble = (text) => { $("trouble").textContent = text; $("trouble").hidden = !text; };

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (answer.status === 401) $("door").hidden = false;
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error?.message || `the server answered ${answer.status}`);
  }
  return answer;
}

// Runs what a user began; what goes wrong is said on the page.
async function attempt(work) {
  trouble("");
  try { await work(); } catch (error) { trouble(error.message); }
}

async function enter() {
  const { data } = await (await call("v1/models")).json();
  model = data[0];
  $("model").textContent = model.id;
  $("door").hidden = true;
  const media = model.media || [];
  $("hearing").hidden = !media.includes("audio");
  $("asking").hidden = !model.chats;
  $("seeing").hidden = !media.includes("image");
  $("best-of").hidden = !model.chats;
  about();
}

function about() {
  const things = [sound && "the sound above", picture && "the picture"].filter(Boolean);
  $("about").textContent = things.length ? `about ${things.join(" and ")}` : "about nothing yet: text alone";
}

// ---- words: {word, start, end, confidence}, all but the first perhaps missing
function show(words, partial = "") {
  const said = $("said");
  said.replaceChildren();
  for (const word of words) {
    const span = document.createElement("span");
    span.textContent = word.word;
    span.style.setProperty("--sure", word.confidence ?? 1);
    span.title = told(word);
    span.tabIndex = 0;
    span.onfocus = span.onmouseenter = () => { $("word").hidden = false; $("word").textContent = `${word.word}: ${told(word)}`; };
    if (!$("player").hidden && word.start !== undefined) {
      span.className = "seekable";
      span.onclick = () => { $("player").currentTime = word.start; $("player").play(); };
    }
    said.append(span, " ");
  }
  if (partial) {
    const soft = document.createElement("i");
    soft.textContent = partial;
    said.append(soft);
  }
  $("legend").hidden = !words.some((word) => word.confidence !== undefined);
}

const told = (word) => [
  word.start === undefined ? "" : `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s`,
  word.confidence === undefined ? "" : `${Math.round(100 * word.confidence)} % sure`,
].filter(Boolean).join(", ");

function alternatives(segments) {
  const list = $("others");
  list.replaceChildren();
  for (const segment of segments) for (const other of segment.alternatives || []) {
    const item = document.createElement("li"), score = document.createElement("small");
    item.textContent = `${other.text} `;
    score.textContent = other.avg_logprob.toFixed(2);
    item.append(score);
    list.append(item);
  }
  list.hidden = !list.children.length;
}

// ---- a file, or what was recorded
async function hear(blob) {
  sound = blob;
  about();
  $("player").src = URL.createObjectURL(blob);
  $("player").hidden = false;
  $("word").hidden = true;
  draw(blob);
  show([], "...");
  const form = new FormData(), best = Number($("best").value);
  form.append("file", blob, "sound");
  form.append("model", model.id);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "segment");
  form.append("timestamp_granularities[]", "word");
  if ($("language").value.trim()) form.append("language", $("language").value.trim());
  if (best > 1) form.append("n_best", best);
  try {
    const said = await (await call("v1/audio/transcriptions", { method: "POST", body: form })).json();
    show(said.words?.length ? said.words : said.text.split(/\s+/).filter(Boolean).map((word) => ({ word })));
    alternatives(said.segments || []);
  } catch (error) {
    show([]);
    throw error;
  }
}

// ---- the microphone, over the WebSocket of live speech
async function start() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext();
  await context.audioWorklet.addModule("worklet.js");
  const node = new AudioWorkletNode(context, "chunks");
  context.createMediaStreamSource(stream).connect(node);
  const asked = new URLSearchParams({ model: model.id, sampling_rate: context.sampleRate });
  if ($("language").value.trim()) asked.set("language", $("language").value.trim());
  const address = new URL(`v1/audio/live?${asked}`, location.href.replace(/^http/, "ws"));
  const line = new WebSocket(address, ["speechllm", ...(token ? [`openai-insecure-api-key.${token}`] : [])]);
  const words = [], chunks = [], waiting = [];
  live = { stream, context, line, chunks };
  $("player").hidden = true;
  $("others").hidden = true;
  show(words, "listening ...");
  const columns = scroller(context.sampleRate);
  const send = (chunk) => line.send(chunk);
  line.onopen = () => waiting.splice(0).forEach(send);
  node.port.onmessage = ({ data }) => {
    const chunk = Int16Array.from(data, (value) => Math.max(-1, Math.min(1, value)) * 32767);
    chunks.push(chunk);
    columns(data);
    if (line.readyState === WebSocket.OPEN) send(chunk);
    else if (line.readyState === WebSocket.CONNECTING) waiting.push(chunk);
  };
  line.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "final") words.push(...message.words);
    if (message.type === "error") trouble(message.error.message);
    if (message.type === "done") ended(words);
    else show(words, message.type === "partial" ? message.text : "");
  };
  line.onclose = () => ended(words);
  $("record").textContent = "Stop";
  $("record").classList.add("on");
}

function stop() {
  live.context.close();
  live.stream.getTracks().forEach((track) => track.stop());
  if (live.line.readyState === WebSocket.OPEN) live.line.send('{"type": "end"}');
  $("record").disabled = true;
}

function ended(words) {
  if (!live) return;
  const { chunks, context, stream } = live;
  const rate = context.sampleRate;
  if (context.state !== "closed") context.close();
  stream.getTracks().forEach((track) => track.stop());
  live = null;
  sound = wav(chunks, rate);
  about();
  $("player").src = URL.createObjectURL(sound);
  $("player").hidden = false;
  show(words);
  $("record").textContent = "Speak";
  $("record").classList.remove("on");
  $("record").disabled = false;
}

function wav(chunks, rate) {
  const size = 2 * chunks.reduce((n, chunk) => n + chunk.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((c, k) => head.setUint8(at + k, c.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, 36 + size, true); text(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true); text(36, "data"); head.setUint32(40, size, true);
  return new Blob([head, ...chunks], { type: "audio/wav" });
}

// ---- spectrogram: log magnitudes of 512 samples at about 16 kHz, low at the bottom
const N = 512, BANDS = 160, COLOURS = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
const hann = Float32Array.from({ length: N }, (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * k) / N));

function spectrum(wave, at) {
  const re = new Float32Array(N), im = new Float32Array(N);
  for (let k = 0, j = 0; k < N; k++) { // bits reversed
    re[j] = (wave[at + k] || 0) * hann[k];
    let bit = N >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
  }
  for (let size = 2; size <= N; size *= 2) {
    for (let from = 0; from < N; from += size) for (let k = 0; k < size / 2; k++) {
      const a = (-2 * Math.PI * k) / size, c = Math.cos(a), s = Math.sin(a);
      const p = from + k, q = p + size / 2, x = re[q] * c - im[q] * s, y = re[q] * s + im[q] * c;
      re[q] = re[p] - x; im[q] = im[p] - y; re[p] += x; im[p] += y;
    }
  }
  return Float32Array.from({ length: BANDS }, (_, k) => 10 * Math.log10(re[k] ** 2 + im[k] ** 2 + 1e-9));
}

function colour(db, top) {
  const place = Math.max(0, Math.min(0.9999, 1 + (db - top) / 70)) * (COLOURS.length - 1);
  const [a, b] = [COLOURS[Math.floor(place)], COLOURS[Math.floor(place) + 1]], t = place % 1;
  return a.map((value, k) => value + (b[k] - value) * t);
}

function paint(context, columns, x0, top) {
  const image = context.createImageData(columns.length, BANDS);
  columns.forEach((column, x) => column.forEach((db, band) => {
    image.data.set([...colour(db, top), 255], 4 * ((BANDS - 1 - band) * columns.length + x));
  }));
  context.putImageData(image, x0, 0);
}

async function draw(blob) {
  const canvas = $("spectrogram"), context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  let wave;
  try {
    const buffer = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(await blob.arrayBuffer());
    wave = buffer.getChannelData(0);
  } catch { return; } // the server may know a kind of file that this browser does not
  const columns = Array.from({ length: canvas.width }, (_, x) => spectrum(wave, Math.floor((x * (wave.length - N)) / canvas.width)));
  paint(context, columns, 0, Math.max(...columns.map((column) => Math.max(...column))));
}

// Draws what is heard, newest at the right.
function scroller(rate) {
  const canvas = $("spectrogram"), context = canvas.getContext("2d", { willReadFrequently: true });
  const step = Math.max(1, Math.round(rate / 16000));
  context.clearRect(0, 0, canvas.width, canvas.height);
  let top = -20;
  return (chunk) => {
    const wave = chunk.filter((_, k) => k % step === 0), columns = [];
    for (let at = 0; at + N <= wave.length; at += N / 2) columns.push(spectrum(wave, at));
    top = Math.max(top - 0.2, ...columns.map((column) => Math.max(...column)));
    context.drawImage(canvas, -columns.length, 0);
    paint(context, columns, canvas.width - columns.length, top);
  };
}

// ---- questions
const base64 = async (blob) => (await new Promise((done) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.readAsDataURL(blob);
}));

async function ask() {
  const content = [];
  if (picture) content.push({ type: "image_url", image_url: { url: await base64(picture) } });
  if (sound) content.push({ type: "input_audio", input_audio: { data: (await base64(sound)).split(",")[1], format: "wav" } });
  content.push({ type: "text", text: $("question").value });
  const body = JSON.stringify({ model: model.id, stream: true, messages: [{ role: "user", content }] });
  $("answer").textContent = "...";
  const answer = await call("v1/chat/completions", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  $("answer").textContent = "";
  let left = "";
  for await (const bytes of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (left + bytes).split("\n\n");
    left = lines.pop();
    for (const line of lines.map((one) => one.replace(/^data: /, "")).filter((one) => one !== "[DONE]")) {
      const event = JSON.parse(line);
      if (event.error) throw new Error(event.error.message);
      $("answer").textContent += event.choices[0]?.delta.content || "";
    }
  }
}

// ---- what users do
function take(file) {
  if (file.type.startsWith("image/")) {
    picture = file;
    $("seen").src = URL.createObjectURL(file);
    $("seen").hidden = false;
    about();
  } else attempt(() => hear(file));
}
$("door").onsubmit = (event) => { event.preventDefault(); token = $("token").value; attempt(enter); };
$("record").onclick = () => (live ? stop() : attempt(start));
$("ask").onsubmit = (event) => {
  event.preventDefault();
  const button = $("ask").querySelector("button");
  button.disabled = true;  // one question at a time
  attempt(ask).finally(() => { button.disabled = false; });
};
for (const name of ["file", "picture"]) $(name).onchange = () => { if ($(name).files[0]) take($(name).files[0]); };
document.ondragover = (event) => { event.preventDefault(); document.body.classList.add("over"); };
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
};
attempt(enter);
