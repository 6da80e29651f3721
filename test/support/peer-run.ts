import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'vitest';
import { atFileEnd } from './leftovers.ts';
import type { Tool } from './peer-tools.ts';

/** A test that needs a tool. It is skipped with a reason if the tool is missing. */
export function needing(
  tool: Tool,
  name: string,
  body: (path: string) => Promise<void>,
  timeoutMs?: number,
): void {
  if ('missing' in tool) test.skip(`${name} (${tool.missing})`, () => undefined);
  else test(name, async () => await body(tool.path), timeoutMs);
}

/** The output and status of an ended program. */
export interface Ended {
  readonly status: number | null;
  readonly said: string;
  readonly stdout: string;
}

/** Runs a program to its end without blocking this process, which is its server. */
export async function runPeer(
  command: string,
  args: readonly string[],
  cwd = dirname(command),
  started: (child: ChildProcess) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  started(child);
  atFileEnd(() => child.kill('SIGKILL'));
  let said = '';
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    said += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, said, stdout };
}

/** Runs CommonJS code that can load the packages in `modules`. */
export async function checkedBy(
  modules: string,
  lines: readonly string[],
  args: readonly string[],
): Promise<Ended> {
  const program = join(dirname(modules), `check-${process.pid}.cjs`);
  writeFileSync(program, ["const fs = require('node:fs');", ...lines].join('\n'));
  return await runPeer(process.execPath, [program, ...args]);
}
