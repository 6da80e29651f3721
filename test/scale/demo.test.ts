import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { RunningProcess, runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const MAIN = join(repositoryRoot, 'fixtures', 'demo', 'main.ts');

/** Processes whose command line names a path; null where the system does not show them. */
function processesNaming(path: string): string[] | null {
  if (!existsSync('/proc/self/cmdline')) return null;
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return commandLine.includes(path) ? [commandLine] : [];
    } catch (error) {
      // It ended between the listing and the reading.
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
      throw error;
    }
  });
}

function refuses(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}

/** What the demo started is gone: its recorder, its replay and its model server. */
async function expectNothingLeft(out: string, stdout: string): Promise<void> {
  expect(processesNaming(out) ?? []).toEqual([]);
  const ports = [...stdout.matchAll(/^listens on (?:http:\/\/)?127\.0\.0\.1:(\d+)/gm)].map(([, port]) =>
    Number(port),
  );
  expect(ports).toHaveLength(2);
  for (const port of ports) expect(await refuses(port)).toBe(true);
}

describe('the demo', () => {
  test('records, inspects and replays a part of the trace, says where it lies, and leaves nothing running', async () => {
    const out = join(temporaryDirectory(), 'demo');
    const { status, stdout, stderr } = await runProcess(process.execPath, [
      MAIN,
      '--seconds',
      '4',
      '--out',
      out,
    ]);
    expect(stderr).not.toMatch(/demo:/);
    expect(status).toBe(0);
    expect(stdout.match(/^== .*$/gm)).toHaveLength(7);
    expect(stdout).toMatch(/^Report: npx reprise report /m);
    const sent = Number(/^answers: {2}(\d+) x 200;/m.exec(stdout)?.[1]);
    const summary = JSON.parse(readFileSync(join(out, 'run', 'summary.json'), 'utf8'));
    expect(sent).toBeGreaterThan(100);
    expect(summary).toMatchObject({ planned: sent, sent, completed: sent, failed: 0, multiplier: 1.5 });
    expect(['PASS', 'FAIL', 'INCONCLUSIVE']).toContain(summary.verdict);
    expect(readdirSync(join(out, 'capture')).some((file) => file.endsWith('.manifest.json'))).toBe(true);
    await expectNothingLeft(out, stdout);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stopped by %s takes everything with it', async (signal, status) => {
    const out = join(temporaryDirectory(), 'demo');
    const demo = new RunningProcess(process.execPath, [MAIN, '--seconds', '60', '--out', out]);
    await demo.waitFor('stdout', /through the recorder\n/);
    // In the midst of the traffic: the recorder holds connections and an open segment.
    await delay(1_000);
    const ended = await demo.kill(signal);
    expect(ended).toMatchObject({ status, signal: null });
    expect(ended.stderr).toMatch(/demo: stopped/);
    await expectNothingLeft(out, ended.stdout);
  });

  test('refuses a directory that holds something, and nonsense', async () => {
    const out = join(temporaryDirectory(), 'taken');
    mkdirSync(out);
    writeFileSync(join(out, 'precious'), '');
    for (const args of [['--out', out], ['--seconds', '0'], ['--second', '1'], ['stray']]) {
      const { status, stdout } = await runProcess(process.execPath, [MAIN, ...args]);
      expect({ args, status, stdout }).toEqual({ args, status: 2, stdout: '' });
    }
    expect(readdirSync(out)).toEqual(['precious']);
  });
});
