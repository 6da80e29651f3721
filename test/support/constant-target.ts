import { startProcess } from './process.ts';

const ANSWER = '{"outputs":[1,2,3]}';

/** Answers after a time. At /answered: how many answers it gave at other paths than /probe. */
const script = (answerMs: number) => `
let answered = 0;
require('node:http').createServer((request, response) => {
  if (request.url === '/answered') return void response.end(String(answered));
  request.resume().on('end', () => setTimeout(() => {
    if (request.url !== '/probe') answered += 1;
    response.end('${ANSWER}');
  }, ${answerMs}));
}).listen(0, '127.0.0.1', function () { console.log('port ' + this.address().port); });`;

/** Sends a request every 40 ms. At /took: how long 95 % of the answers took since the last time it was asked. */
const probe = (url: string) => `
const http = require('node:http');
const agent = new http.Agent({ keepAlive: true });
let took = [];
setInterval(() => {
  const since = performance.now();
  http.get('${url}/probe', { agent }, (response) => {
    response.resume().on('end', () => took.push(performance.now() - since));
  });
}, 40);
http.createServer((_, response) => {
  took.sort((a, b) => a - b);
  response.end(String(took[Math.ceil(took.length * 0.95) - 1]));
  took = [];
}).listen(0, '127.0.0.1', function () { console.log('port ' + this.address().port); });`;

/**
 * A server that answers everything after the same time, in a process of its own, and another client of it. Both come
 * before busy loops where that is allowed, because they represent other hosts.
 */
export async function constantTarget(answerMs: number) {
  const started = async (program: string) => {
    const process = startProcess('nice', ['-n', '-10', globalThis.process.execPath, '-e', program]);
    const [, port = ''] = await process.waitFor('stdout', /port (\d+)/);
    return { process, url: `http://127.0.0.1:${port}` };
  };
  const target = await started(script(answerMs));
  const client = await started(probe(target.url));
  return {
    url: target.url,
    answer: ANSWER,
    answered: async () => Number(await (await fetch(`${target.url}/answered`)).text()),
    /** What the other client waited in 95 % of the cases, since the last call. */
    waitedP95Ms: async () => Number(await (await fetch(`${client.url}/took`)).text()),
    end: async () => void (await Promise.all([client, target].map((each) => each.process.kill('SIGKILL')))),
  };
}
