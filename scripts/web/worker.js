// The model, in a thread of its own: LiteRT-LM computes an answer without a pause. A classic
// worker, because LiteRT-LM's loader needs importScripts. The page sends {task: NAME, …}, which run
// one after the other, and hears of {is: NAME, …}.

const GREEDY = {k: 1, p: 1, temperature: 1, seed: 0};
const STOP_CHECK = 200; // milliseconds between two looks at whether the user pressed Stop

let lm, engine, conversation;
let history = []; // the messages that were answered in full or stopped
let cutShort = false; // whether the runtime missed a part of the model's file

let last = Promise.resolve();
onmessage = ({data}) => {
  last = last.then(() => tasks[data.task](data)).catch(error => {
    const text = cutShort ? 'CUT_SHORT' : error?.message || String(error);
    postMessage({is: 'error', task: data.task, text});
  });
};

const tasks = {
  async load({base, model, bytes}) {
    lm = await import(base + 'runtime/index.js');
    self.Module = {
      locateFile: name => base + 'runtime/wasm/' + name,
      print: line => console.debug(line),
      printErr: line => {
        cutShort ||= line.includes('too large for file size');
        console.debug(line);
      },
    };
    await lm.loadLiteRtLm(base + 'runtime/wasm');
    const stream = await open(model, bytes);
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

// The model as a stream that reports how much of it was read. Refuses what is no bundle.
async function open(model, bytes) {
  const response = model instanceof Blob ? new Response(model) : await fetch(model);
  if (!response.ok) throw new Error(`the server answered ${response.status} for ${model}`);
  let loaded = 0;
  const transform = (part, out) => {
    if (!loaded) refuse(part);
    loaded += part.length;
    postMessage({is: 'loading', loaded});
    out.enqueue(part);
  };
  const flush = () => {
    if (!loaded || loaded < bytes) throw new Error('CUT_SHORT');
    postMessage({is: 'preparing'});
  };
  return response.body.pipeThrough(new TransformStream({transform, flush}));
}

function refuse(start) {
  const text = String.fromCharCode(...start.slice(0, 100)).trimStart().toLowerCase();
  if (text.startsWith('litertlm')) return;
  if (text.startsWith('<')) throw new Error('HTML');
  // A .task is a zip; its entries are aligned, so that the zip may begin with zeros.
  if (/^\0*pk/.test(text)) throw new Error('TASK');
  throw new Error('OTHER');
}
