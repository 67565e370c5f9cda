// The model, in a thread of its own: LiteRT-LM computes an answer without a pause. A classic
// worker, because LiteRT-LM's loader needs importScripts. The page sends {task: NAME, …}, which run
// one after the other, and hears of {is: NAME, …}.

const GREEDY = {k: 1, p: 1, temperature: 1, seed: 0};
const STOP_CHECK = 200; // milliseconds between two looks at whether the user pressed Stop
const HEADER = 16384; // bytes in front of a bundle's first section
const KINDS = { // what a file is instead of a bundle, by its first characters
  HTML: /^[\s\0\ufffd]*</,
  TASK: /^\0*PK\x03\x04.{20,30}(TF_LITE|TOKENIZER|METADATA)/s, // a zip, aligned by zeros
  ZIP: /^PK\x03\x04/,
  POINTER: /^version .*git-lfs/,
};

let lm, engine, conversation;
let history = []; // the messages that were answered in full or stopped

let last = Promise.resolve();
onmessage = ({data}) => {
  last = last.then(() => tasks[data.task](data)).catch(error => {
    postMessage({is: 'error', task: data.task, text: error?.message || String(error)});
  });
};

const tasks = {
  async load({base, model, bytes}) {
    const stream = await open(model, bytes); // first: a file that is refused needs no runtime
    lm = await import(base + 'runtime/index.js');
    self.Module = {
      locateFile: name => base + 'runtime/wasm/' + name,
      print: console.debug, printErr: console.debug,
    };
    await lm.loadLiteRtLm(base + 'runtime/wasm');
    // On the GPU, this version of LiteRT-LM does not run Gemma 3.
    engine = await lm.Engine.create({model: stream, backend: lm.Backend.CPU});
    await resume();
    postMessage({is: 'ready', context: engine.settings.mainExecutorSettings.maxNumTokens});
  },

  async reset() {
    history = [];
    await resume();
    postMessage({is: 'reset'});
  },

  async send({text, stopUrl}) {
    const message = {role: 'user', content: text};
    const answer = await ask(message, stopUrl);
    if (answer.error && !answer.stopped) {
      await resume(); // the failed conversation keeps the question
      throw new Error(answer.error);
    }
    history.push(message, {role: 'assistant', content: answer.text.trim()});
    const used = await conversation.getTokenCount();
    // A cancelled conversation answers nothing more, and the template trims answers.
    if (answer.stopped || answer.text !== answer.text.trim()) await resume();
    postMessage({is: 'answered', ...answer, used});
  },
};

// A new conversation that holds what was said so far.
async function resume() {
  await conversation?.delete();
  const sessionConfig = {samplerParams: {type: lm.SamplerType.TOP_P, ...GREEDY}};
  conversation = await engine.createConversation({sessionConfig, preface: {messages: history}});
}

// LiteRT-LM's own sendMessageStreaming delivers every piece at the end on the CPU. Its inner
// conversation calls back for each piece while it computes; that is private, so the version is
// pinned in package.json.
async function ask(message, stopUrl) {
  const {conversation: inner, engine: wasm, mutexes} = conversation;
  const answer = {text: '', tokens: 0, stopped: false, error: null, first: 0, milliseconds: 0};
  const started = performance.now();
  let looked = started;

  const hear = (chunk, done, error) => {
    answer.error ||= error;
    if (!chunk || answer.stopped) return;
    const now = performance.now();
    const piece = textOf(JSON.parse(chunk));
    answer.first ||= now - started;
    answer.text += piece;
    answer.tokens++;
    postMessage({is: 'piece', text: piece});
    if (now - looked < STOP_CHECK) return;
    looked = now;
    if (isRevoked(stopUrl)) {
      answer.stopped = true;
      conversation.cancel();
    }
  };

  await mutexes.executor.acquireAndRun(async () => {
    await inner.sendMessageAsync(JSON.stringify(message), hear);
    await wasm.waitUntilDone();
  });
  answer.milliseconds = performance.now() - started;
  return answer;
}

function textOf({content}) {
  if (typeof content === 'string') return content;
  return (content ?? []).map(part => part.text ?? '').join('');
}

// No message reaches this thread while the model computes. But it can look whether a blob URL of
// the page is still there: Stop revokes it.
function isRevoked(url) {
  const request = new XMLHttpRequest();
  try {
    request.open('GET', url, false);
    request.send();
    return request.status !== 200;
  } catch {
    return true;
  }
}

// The model as a stream that reports how much of it was read. Refuses what is no whole bundle.
async function open(model, bytes) {
  const response = model instanceof Blob ? new Response(model) : await fetch(model);
  if (!response.ok) throw new Error(`the server answered ${response.status} for ${model}`);
  const [start, content] = response.body.tee();
  await refuse(start.getReader(), bytes);
  let loaded = 0;
  const transform = (part, out) => {
    postMessage({is: 'loading', loaded: loaded += part.length});
    out.enqueue(part);
  };
  const flush = () => {
    if (loaded < bytes) throw cutShort(loaded, bytes);
    postMessage({is: 'preparing'});
  };
  return content.pipeThrough(new TransformStream({transform, flush}));
}

async function refuse(reader, bytes) {
  let head = new Blob(), part;
  while (head.size < HEADER && (part = (await reader.read()).value)) head = new Blob([head, part]);
  reader.cancel();
  head = await head.arrayBuffer();
  const text = new TextDecoder().decode(head.slice(0, 100)); // without a byte order mark
  const kind = Object.keys(KINDS).find(kind => KINDS[kind].test(text)) ?? 'OTHER';
  if (!'LITERTLM'.startsWith(text.slice(0, 8))) throw new Error(kind);
  const whole = Math.max(sizeByHeader(new DataView(head)), HEADER);
  if (bytes < whole) throw cutShort(bytes, whole);
}

function cutShort(...sizes) {
  const [there, whole] = sizes.map(size => size.toLocaleString('en'));
  return new Error(`CUT_SHORT ${there} of at least ${whole}`);
}

// Where the last section of a bundle ends. The header is a FlatBuffer: {1: {0: [{2: end}]}}, where
// numbers are the slots of fields. 0 if it is damaged.
function sizeByHeader(view) {
  const follow = at => at + view.getUint32(at, true);
  const field = (table, slot) =>
    table + view.getUint16(table - view.getInt32(table, true) + 4 + 2 * slot, true);
  try {
    const sections = follow(field(follow(field(follow(32), 1)), 0));
    const end = (_, number) => field(follow(sections + 4 + 4 * number), 2);
    const ends = Array.from({length: view.getUint32(sections, true)}, end);
    return Math.max(...ends.map(at => Number(view.getBigUint64(at, true))));
  } catch {
    return 0;
  }
}
