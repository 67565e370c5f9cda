// The page: what is shown and what the user does. worker.js runs the model.

const $ = id => document.getElementById(id);
const megabytes = bytes => (bytes / 1e6).toFixed(1) + ' MB';
const base = new URL('.', location.href).href;

let worker; // of the model that is open; null if none is, or if it failed
let model; // {name, bytes, source}: what was opened last; source is a URL or a File
let context; // how many tokens the model holds; null until it is ready
let answer; // the element that the running answer is written to, or null
let stopUrl; // revoked when the user presses Stop

start();

async function start() {
  $('chat').replaceChildren();
  const missing = lacks();
  if (missing) return show('error', missing);
  greetOtherTabs();
  const listed = await fetch('models.json').then(reply => reply.json()).catch(() => []);
  for (const {name, bytes} of listed) {
    addModel({name, bytes, source: base + 'models/' + encodeURIComponent(name)});
  }
  if (listed.length) load(models[0]);
  else show('hint', 'Open a .litertlm file, or drop one on this page.');
}

// What this browser does not have, in words.
function lacks() {
  const needed = ['WebAssembly', 'Worker', 'TransformStream'].find(name => !(name in window));
  // The smallest module with an instruction on 128-bit vectors.
  const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0,
    65, 0, 253, 15, 253, 98, 11];
  const lacking = needed || !WebAssembly.validate(new Uint8Array(simd)) && 'WebAssembly SIMD';
  return lacking && `This browser lacks ${lacking}, which the runtime needs. Use a current ` +
    'Chrome, Edge, Firefox or Safari.';
}

function greetOtherTabs() {
  if (typeof BroadcastChannel !== 'function') return;
  const tabs = new BroadcastChannel(base);
  tabs.onmessage = ({data}) => {
    if (data === 'hello') return tabs.postMessage('here');
    $('tabs').textContent = 'Open in another tab, too: each keeps its own model in memory.';
  };
  tabs.postMessage('hello');
}

const models = []; // those of the picker, in its order

function addModel(one) {
  models.push(one);
  $('model').add(new Option(`${one.name} (${megabytes(one.bytes)})`, models.length - 1));
}

function openFile(file) {
  addModel({name: file.name, bytes: file.size, source: file});
  $('model').value = models.length - 1;
  load(models.at(-1));
}

function load(one) {
  worker?.terminate();
  model = one;
  context = null;
  finishAnswer();
  $('chat').replaceChildren();
  $('stats').textContent = '';
  enable(false);
  progress('Loading the runtime…');
  // From a blob URL, because such a worker inherits this page's Content-Security-Policy. One from
  // a file would be bound by HTTP headers only, which a static host may not send.
  const code = `importScripts(${JSON.stringify(base + 'worker.js')})`;
  const url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
  worker = new Worker(url);
  worker.onmessage = ({data}) => heard[data.is](data);
  worker.onerror = event => heard.error({task: 'load', text: event.message || 'no worker'});
  worker.postMessage({task: 'load', base, model: model.source, bytes: model.bytes});
}

const heard = {
  loading({loaded}) {
    const text = `Loading ${model.name}: ${megabytes(loaded)} of ${megabytes(model.bytes)}`;
    progress(text, loaded / model.bytes);
  },
  preparing: () => progress('Preparing the model…'),
  ready(data) {
    context = data.context;
    $('loading').hidden = true;
    beginChat();
    show('hint', `${model.name} is ready.`);
    if (document.activeElement === document.body) $('text').focus();
  },
  reset() {
    beginChat();
    $('text').focus();
  },
  piece({text}) {
    answer.append(text);
    answer.scrollIntoView({block: 'end'});
  },
  answered(data) {
    if (!data.text) answer.append('(an empty answer)');
    finishAnswer();
    showSpeed(data);
    const full = data.used >= context; // LiteRT-LM cuts the answer off here, then answers nothing
    if (full) {
      show('error', `The conversation fills the ${context} tokens that this model can hold, so ` +
        'this answer may be cut off and no further one can follow. Press “New chat”.');
    }
    enable(!full);
    if (full) $('new').focus();
  },
  error({task, text}) {
    $('loading').hidden = true;
    answer?.remove();
    finishAnswer();
    show('error', explain(text, task));
    if (task !== 'send') { // the runtime is of no use any more: “New chat” opens the model again
      worker.terminate();
      worker = null;
    }
    enable(worker !== null);
  },
};

function beginChat() {
  $('chat').replaceChildren();
  $('stats').textContent = `Context: 0 of ${context} tokens`;
  enable(true);
}

// What the user reads for an error of the runtime or of worker.js: the first whose words it has.
function explain(text, task) {
  const {name, bytes} = model;
  const causes = [
    [/^TASK/, `${name} is a .task, which MediaPipe runs. This page runs the .litertlm beside it.`],
    [/^HTML/, `${name} is a web page, not a model. Probably a download failed: fetch it again.`],
    [/^ZIP/, `${name} is a ZIP archive. Unpack it, and open the .litertlm that is in it.`],
    [/^POINTER/, `${name} is a pointer of Git LFS. Fetch the model itself with “git lfs pull”.`],
    [/^OTHER/, `${name} is not a .litertlm bundle.`],
    [/^CUT_SHORT/, `${name} is cut short: it has ${text.slice(10)} bytes. Download it again.`],
    [/^the server|fetch|NetworkError/i, `${name} did not load: ${text}.`],
    [/too long|exceeds available/, 'This message does not fit into what is left of the ' +
      `${context} tokens that the model can hold. Shorten it, or press “New chat”.`],
    [/allocat|memory|OOM/i, `The browser has too little memory: ${name} takes about ` +
      `${megabytes(5 * bytes)}. Close other tabs, or choose a smaller model.`],
    [task === 'send' ? /./ : /^$/, `No answer: ${text}`],
    [/PREFILL_DECODE|^Aborted/, `${name} holds no chat model that this page can run.`],
    [/./, `${name} did not load. It may be damaged, or of a kind that this page cannot run. ` +
      `LiteRT-LM says: ${text.split('└').at(-1).trim()}`],
  ];
  return causes.find(([words]) => words.test(text))[1];
}

function show(kind, text) {
  const message = document.createElement('p');
  message.className = kind;
  if (kind === 'error') message.setAttribute('role', 'alert');
  if (kind === 'user' || kind === 'model') {
    const who = document.createElement('span'); // only screen readers say it
    who.className = 'who';
    who.textContent = kind === 'user' ? 'You: ' : 'Model: ';
    message.append(who);
  }
  message.append(text);
  $('chat').append(message);
  $('chat').scrollTop = $('chat').scrollHeight;
  return message;
}

function showSpeed({tokens, first, milliseconds, used, stopped}) {
  const parts = [
    stopped && 'Stopped',
    tokens > 1 && `${((tokens - 1) / (milliseconds - first) * 1000).toFixed(0)} tokens/s`,
    tokens && `First token after ${(first / 1000).toFixed(2)} s`,
    `Context: ${used} of ${context} tokens`,
  ];
  $('stats').textContent = parts.filter(Boolean).join(' · ');
}

function progress(text, share) {
  $('loading').hidden = false;
  $('step').textContent = text;
  if (share === undefined) $('bar').removeAttribute('value');
  else $('bar').value = share;
}

// One button sends and stops, so that the focus stays where it is.
function enable(on) {
  $('text').disabled = !on;
  $('send').disabled = !on && !answer;
  $('send').textContent = answer ? 'Stop' : 'Send';
}

// Screen readers read an answer once it is no longer busy.
function finishAnswer() {
  if (!answer) return;
  answer.setAttribute('aria-busy', 'false');
  answer = null;
  URL.revokeObjectURL(stopUrl);
}

function send() {
  const text = $('text').value.trim();
  if (!text || answer || !worker) return;
  $('text').value = '';
  show('user', text);
  answer = show('model', '');
  answer.setAttribute('aria-busy', 'true');
  enable(true);
  stopUrl = URL.createObjectURL(new Blob(['go on']));
  worker.postMessage({task: 'send', text, stopUrl});
}

function stop() {
  URL.revokeObjectURL(stopUrl); // the worker looks whether it is still there
  $('send').textContent = 'Stopping…';
}

$('form').onsubmit = event => {
  event.preventDefault();
  if (answer) stop();
  else send();
};
$('text').onkeydown = event => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
document.onkeydown = event => {
  if (event.key === 'Escape' && answer) stop();
};
$('new').onclick = () => {
  if (!model) return;
  if (answer || !worker || !context) return load(model); // a running answer ends with its worker
  enable(false);
  worker.postMessage({task: 'reset'});
};
$('model').onchange = () => load(models[$('model').value]);
$('open').onclick = () => $('file').click();
$('file').onchange = () => {
  if ($('file').files[0]) openFile($('file').files[0]);
  $('file').value = ''; // so that the same file can be opened again
};
for (const type of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(type, event => {
    event.preventDefault();
    document.body.classList.toggle('drop', type === 'dragover');
    if (type === 'drop' && event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
}
