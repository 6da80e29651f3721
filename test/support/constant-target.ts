import { startProcess } from './process.ts';

const ANSWER = '{"outputs":[1,2,3]}';

/** Answers after a time, and says at /took how long 95 % of its answers took by its own clock. */
const script = (answerMs: number) => `
const took = [];
require('node:http').createServer((request, response) => {
  if (request.url === '/took') {
    took.sort((a, b) => a - b);
    response.end(String(took[Math.ceil(took.length * 0.95) - 1]));
    return;
  }
  const since = performance.now();
  request.resume().on('end', () => setTimeout(() => {
    took.push(performance.now() - since);
    response.end('${ANSWER}');
  }, ${answerMs}));
}).listen(0, '127.0.0.1', function () { console.log('port ' + this.address().port); });`;

/**
 * A server that answers everything after the same time, in a process of its own. It comes before busy loops where that
 * is allowed, because it represents another host.
 */
export async function constantTarget(answerMs: number) {
  const target = startProcess('nice', ['-n', '-10', process.execPath, '-e', script(answerMs)]);
  const [, port = ''] = await target.waitFor('stdout', /port (\d+)/);
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    answer: ANSWER,
    tookP95Ms: async () => Number(await (await fetch(`${url}/took`)).text()),
    end: () => target.kill('SIGKILL'),
  };
}
