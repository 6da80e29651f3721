import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { busyShare } from '../support/busy-share.ts';
import { captureOf } from '../support/captures.ts';
import { constantTarget } from '../support/constant-target.ts';
import { repeated } from '../support/long-form.ts';
import { poissonOf } from '../support/poisson.ts';
import { startProcess, startReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Gates of one build against itself, and of a build against one that is 20 % slower, in turn. */
const GATES = repeated(3, 40);
const ANSWER_MS = 50;
const SLOWER = 1.2;
const BUDGET_S = 180;
/** Beside the loops, most gates take this long: the first eight runs and the start of each. */
const GATE_S = repeated(240, 240);
/** Where others take more than this, the loops are not all that the gates have beside them. */
const OTHERS_SHARE = 0.25;
const MOST_UNDECIDED = Math.ceil(GATES / 20);

interface Decided {
  readonly gate: number;
  readonly isSlower: boolean;
  readonly result: string;
  readonly tookS: number;
  readonly reasons: readonly string[];
}

/** One gate of its own process. Its seed decides its arrivals. */
async function decide(gate: number): Promise<Decided> {
  const isSlower = gate % 2 === 1;
  const [a, b] = [await constantTarget(ANSWER_MS), await constantTarget(ANSWER_MS * (isSlower ? SLOWER : 1))];
  const exchanges = poissonOf({
    ...{ count: 300, ratePerSecond: 50, seed: 1_000 + gate, answerMs: ANSWER_MS, answer: a.answer },
  });
  const folder = temporaryDirectory();
  const scenario = join(folder, 'two.yaml');
  const capture = captureOf(exchanges);
  writeFileSync(
    scenario,
    `capture: ${capture}\ntarget: ['${a.url}', '${b.url}']\nrepeat: 1\nout: ${join(folder, 'runs')}\n`,
  );
  const served = startReprise([
    ...['--log-format', 'json', 'gate', '--serve', '127.0.0.1:0', '--scenario', `two=${scenario}`],
    ...['--budget', `${BUDGET_S}s`],
  ]);
  const [, address] = await served.waitFor('stderr', /"address":"([^"]+)"/);
  const since = performance.now();
  const answer = await fetch(`http://${address}/argo/two?id=${gate}&wait=30m`);
  const { result, reasons } = (await answer.json()) as Pick<Decided, 'result' | 'reasons'>;
  const tookS = Math.round((performance.now() - since) / 1e3);
  await served.kill('SIGTERM');
  await Promise.all([a.end(), b.end()]);
  return { gate, isSlower, result, tookS, reasons };
}

it(
  'beside two busy loops a gate passes no slower build, fails no equal one, and leaves one in twenty undecided at most',
  async () => {
    const others = await busyShare();
    const loop = `const end = Date.now() + ${GATES * GATE_S * 1e3}; while (Date.now() < end);`;
    const loops = [0, 1].map(() => startProcess(process.execPath, ['-e', loop]));
    const decided: Decided[] = [];
    try {
      for (let gate = 0; gate < GATES; gate += 1) decided.push(await decide(gate));
    } finally {
      await Promise.all(loops.map((each) => each.kill('SIGKILL')));
    }
    const shown = JSON.stringify(decided);
    const wrong = decided.filter(({ isSlower, result }) => result === (isSlower ? 'PASS' : 'FAIL'));
    expect(wrong, shown).toEqual([]);
    const open = decided.filter(({ result }) => result === 'INCONCLUSIVE');
    // Beside more than the loops a gate may say that it cannot tell; it is never wrong.
    const isAlone = Math.max(others, await busyShare()) < OTHERS_SHARE;
    expect(open.length, shown).toBeLessThanOrEqual(isAlone ? MOST_UNDECIDED : GATES);
    const times = decided.map(({ tookS }) => tookS).sort((one, other) => one - other);
    console.log(`median ${times[Math.floor(times.length / 2)]} s, longest ${times.at(-1)} s: ${shown}`);
  },
  GATES * GATE_S * 1_000,
);
