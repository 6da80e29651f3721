import { expect, test } from 'vitest';
import { StarvedThreads } from '../../src/cli/starved-threads.ts';

/** Looks at two threads, each `R5`, say: its state, and what it has run; a dash for one that is gone. */
function lookAt(...looks: readonly string[]): boolean[] {
  let look: readonly string[] = [];
  const threads = new StarvedThreads(['0', '1'], (id, name) => {
    const seen = look[Number(id)] ?? '-';
    if (seen === '-') return '';
    return name === 'stat' ? `${id} (V8 (R) x) ${seen[0]} 1 2 3` : `${seen.slice(1)} 400 5`;
  });
  return looks.map((each) => {
    look = each.split(' ');
    return threads.look();
  });
}

test('a thread that is runnable at two looks, and ran for nothing between them, starves', () => {
  expect(lookAt('R5 S1', 'R5 S1', 'R6 S1')).toEqual([false, true, false]);
  expect(lookAt('S1 R0', 'S1 R0')).toEqual([false, true]);
});

test('a thread that is given a slice now and then, and waits in between, starves', () => {
  const waitedMs = [0, 20, 99, 180, 180];
  let look = -1;
  const threads = new StarvedThreads(['0'], (_id, name) =>
    name === 'stat' ? '0 (V8) S 1' : `${5 * look} ${(waitedMs[look] ?? 0) * 1e6} 5`,
  );
  const starves = waitedMs.map(() => {
    look += 1;
    return threads.look();
  });
  expect(starves).toEqual([false, false, false, true, false]);
});

test('a thread that sleeps, that gets its processor, or that is gone, does not', () => {
  expect(lookAt('S5 S1', 'S5 S1')).toEqual([false, false]);
  expect(lookAt('R5 R1', 'R6 R2', 'R7 R3')).toEqual([false, false, false]);
  expect(lookAt('R5 R1', 'S5 -', 'R5 -')).toEqual([false, false, false]);
});

test.each([
  ['each says both', true, { stat: '1 (V8Worker) S 1', schedstat: '0 0 0' }],
  ['one is gone', false, { stat: '', schedstat: '' }],
  ['of one nobody says what it ran', false, { stat: '1 (V8Worker) S 1', schedstat: '' }],
])('threads are watched where %s: %s', (_title, seen, second) => {
  const first = { stat: '0 (V8Worker) R 1', schedstat: '5 400 5' };
  const threads = new StarvedThreads(['0', '1'], (id, name) => (id === '0' ? first : second)[name]);
  expect(threads.areSeen).toBe(seen);
});

test.skipIf(process.platform !== 'linux')('a thread that works is seen to run (needs Linux)', () => {
  const threads = new StarvedThreads([String(process.pid)]);
  const looks = Array.from({ length: 4 }, () => {
    // Linux counts what a thread has run at each tick of its own clock, 100 to 1,000 in a second.
    const untilMs = performance.now() + 50;
    while (performance.now() < untilMs);
    return threads.look();
  });
  expect(looks).toEqual([false, false, false, false]);
});
