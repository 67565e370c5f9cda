// A .task in MediaPipe's runtime for the web. It ignores the template in the file, so the page
// renders the turns.

import {FilesetResolver, LlmInference} from './tasks-genai/genai_bundle.mjs';

function render(turns) {
  const text = turns.map(({role, text}) => `<start_of_turn>${role}\n${text}<end_of_turn>\n`);
  return text.join('') + '<start_of_turn>model\n';
}

const genai = await FilesetResolver.forGenAiTasks('tasks-genai/wasm');
const llm = await LlmInference.createFromOptions(genai, {
  baseOptions: {modelAssetPath: 'model.task'},
  maxTokens: Number(new URLSearchParams(location.search).get('context')),
  topK: 1,
});

window.converse = async questions => {
  const turns = [];
  for (const text of questions) {
    turns.push({role: 'user', text});
    turns.push({role: 'model', text: (await llm.generateResponse(render(turns))).trim()});
  }
  return turns.filter(({role}) => role === 'model').map(({text}) => text);
};
