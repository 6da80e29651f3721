import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { ProcessSource, processFactsOf, residentBytesIn } from '../../src/monitors/process-tree.ts';

const children: ReturnType<typeof spawn>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A process that says a word once it has begun. */
async function started(script: string) {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

const valuesOf = async (source: ProcessSource) =>
  new Map((await source.look()).readings.map(({ name, value }) => [name, value]));

test('a line of /proc is read whatever the name of the program holds', () => {
  const line =
    '7 (a) 0 (b c) S 3 7 7 0 -1 4194560 1 0 0 0 120 30 40 10 20 0 11 0 100 1000000 25 18446744073709551615';
  expect(processFactsOf(line)).toEqual({
    pid: 7,
    parent: 3,
    cpuS: 2,
    threads: 11,
  });
  expect(processFactsOf('')).toBeNull();
});

test('memory is read in kB, whatever the pages of the host', () => {
  // Of a process with 25 pages of 64 KiB.
  expect(residentBytesIn('Name:\tVmRSS: 1 kB\nVmHWM:\t    9999 kB\nVmRSS:\t    1600 kB\n')).toBe(25 * 65_536);
  expect(residentBytesIn('Name:\tdefunct\nState:\tZ (zombie)\n')).toBe(0);
});

test('a tree counts what descends from a process, and pages that they share once', async () => {
  // It ends with its parent, which holds its stdin open.
  const grandchild = 'process.stdin.resume();console.log("on")';
  const parent = await started(
    `require('child_process').spawn(process.execPath,['-e',${JSON.stringify(grandchild)}]).stdout.once('data',()=>console.log('on'));setInterval(()=>{},1e3)`,
  );
  const pid = parent.pid ?? 0;
  const alone = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
  const values = await valuesOf(new ProcessSource('tree', { pid }, 1_000));
  expect(values.get('memory')).toBeGreaterThan(1.5 * alone);
  expect(values.get('memory_pss')).toBeLessThan(values.get('memory') ?? 0);
  expect(values.get('threads')).toBeGreaterThan(2);
  expect(values.get('open_files')).toBeGreaterThan(6);
  expect(values.get('cpu')).toBeGreaterThan(0);
});

test('a port stands for who listens on it, and one process has no shared pages to count', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const values = await valuesOf(new ProcessSource('port', { port }, 1_000));
  const own = process.memoryUsage.rss();
  server.close();
  expect(values.get('memory')).toBeGreaterThan(own / 2);
  const alone = await started('console.log("on");setInterval(()=>{},1e3)');
  expect((await valuesOf(new ProcessSource('pid', { pid: alone.pid ?? 0 }, 1_000))).has('memory_pss')).toBe(
    false,
  );
});

test('what is not there is a look that failed', async () => {
  await expect(new ProcessSource('gone', { pid: 2 ** 22 + 1 }, 1_000).look()).rejects.toThrow('no process');
  await expect(new ProcessSource('nobody', { port: 1 }, 1_000).look()).rejects.toThrow('port 1');
});
