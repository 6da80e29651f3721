import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import {
  diskFinding,
  type Finding,
  listenFinding,
  memoryFinding,
  openFilesFinding,
  probeFinding,
  shareFindings,
  targetFinding,
} from '../../src/app/doctor.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Endpoint } from '../../src/proxy/net/endpoint.ts';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_PEM } from '../support/certificate.ts';
import { runCommand } from '../support/command-here.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

async function doctor(...flags: readonly string[]) {
  const { stdout, status } = await runCommand(['doctor', '--json', ...flags]);
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return { status, finding: (check: string) => findings.find((one) => one.check === check) };
}

async function busyPort<T>(use: (port: number) => Promise<T>): Promise<T> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    return await use((server.address() as { port: number }).port);
  } finally {
    server.close();
  }
}

describe('reprise doctor', () => {
  test('finds a healthy host healthy and leaves nothing behind', async () => {
    const directory = temporaryDirectory();
    const { status, finding } = await doctor('--dir', directory);
    expect(status).toBe(0);
    expect(finding('disk')).toMatchObject({ result: 'ok', found: expect.stringContaining(directory) });
    expect(finding('node')?.found).toContain(process.versions.node);
    expect(readdirSync(directory)).toEqual([]);
  });

  test.runIf(process.platform === 'linux')(
    'warns when recorder and model server share a scheduling group',
    async () => {
      await busyPort(async (port) => {
        const target: Endpoint = { kind: 'tcp', host: '127.0.0.1', port, tls: false };
        const [one] = shareFindings(target, process.pid);
        expect(one).toMatchObject({ result: 'warn', found: expect.stringContaining(`pid ${process.pid}`) });
        expect(shareFindings({ ...target, host: '192.0.2.1' }, process.pid)).toEqual([]);
        const { finding } = await doctor('--dir', temporaryDirectory(), '--target', `127.0.0.1:${port}`);
        expect(finding('share of processors')?.result).toBe('warn');
      });
      const nobody: Endpoint = { kind: 'tcp', host: '127.0.0.1', port: 1, tls: false };
      expect(shareFindings(nobody, process.pid)).toEqual([]);
    },
  );

  test('fails where the capture could not be written', async () => {
    const { status, finding } = await doctor('--dir', '/proc/no/such');
    expect(status).toBe(3);
    expect(finding('disk')).toMatchObject({ result: 'fail', advice: expect.stringContaining('write') });
  });

  test('advises room where there is none', async () => {
    const script = 'ulimit -f 1 && exec "$0" "$1" doctor --json --dir "$2"';
    const bin = join(repositoryRoot, 'bin', 'reprise.js');
    const { stdout } = await runProcess('bash', ['-c', script, process.execPath, bin, temporaryDirectory()]);
    const { findings } = JSON.parse(stdout) as { findings: Finding[] };
    expect(findings.find((one) => one.check === 'disk')).toMatchObject({
      result: 'fail',
      found: expect.stringContaining('EFBIG'),
      advice: expect.stringContaining('room'),
    });
  });

  test('fails where the place of the capture leads through a file', () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'x'), join(file, 'x', 'y')]) {
      expect(diskFinding(path)).toMatchObject({ result: 'fail', found: expect.stringContaining('ENOTDIR') });
    }
  });

  test('examines the place where a missing directory would be made', async () => {
    const { finding } = await doctor('--dir', join(temporaryDirectory(), 'a', 'b'));
    expect(finding('disk')?.result).toBe('ok');
  });

  describe('of the memory and the open files', () => {
    const host = (memoryMiB: number, openFiles: number | null = null) => ({
      cpus: 1,
      cpuQuota: false,
      memoryLimited: true,
      coreBytes: 0,
      memoryBytes: memoryMiB * 1024 ** 2,
      openFiles,
    });
    const guide = readFileSync(join(repositoryRoot, 'docs', 'guides', 'what-a-recorder-costs.md'), 'utf8');
    /** The guide's formula for the least memory. */
    const statedMiB = (connections: number) =>
      Number(/^(\d+) MiB \+ C × 64 KiB$/m.exec(guide)?.[1]) + connections / 16;

    test.each([{ maxConnections: 10_000 }, { maxConnections: 3_008 }, { maxConnections: 160 }])(
      'goes by what the guide says of %o',
      (size) => {
        const leastMiB = statedMiB(size.maxConnections);
        expect(memoryFinding(host(leastMiB), size)).toMatchObject({ result: 'ok' });
        expect(memoryFinding(host(leastMiB - 1), size)).toMatchObject({
          result: 'warn',
          advice: expect.stringContaining(`${size.maxConnections} connections needs ${leastMiB} MiB,`),
        });
        expect(memoryFinding(host(191), size)).toMatchObject({ result: 'fail' });
      },
    );

    test('counts no memory for connections that the open files leave no room for', () => {
      const size = { maxConnections: 10_000 };
      expect(memoryFinding(host(statedMiB(480), 1_144), size)).toMatchObject({ result: 'ok' });
    });

    test('asks for no more open files than the connections that are wanted take', () => {
      const room = (maxConnections: number) => openFilesFinding(host(2_000, 1_144), { maxConnections });
      expect(room(480)).toMatchObject({ result: 'ok' });
      expect(room(481)).toMatchObject({ result: 'warn', advice: expect.stringContaining('(481)') });
    });
  });

  test('fails for a port in use, and only warns of a model server that is not up yet', async () => {
    await busyPort(async (port) => {
      const { status, finding } = await doctor(
        ...['--listen', `127.0.0.1:${port}`, '--probe-listen', `127.0.0.1:${port}`],
        ...['--target', '127.0.0.1:1'],
      );
      expect(status).toBe(3);
      expect(finding('listen')?.result).toBe('fail');
      expect(finding('probes')).toMatchObject({
        result: 'warn',
        found: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:${port} .*--listen`)),
      });
      expect(finding('target')).toMatchObject({
        result: 'warn',
        found: expect.stringContaining('ECONNREFUSED'),
      });
    });
  });

  test('finds free the socket that a killed recorder left behind, which record takes over', async () => {
    const path = join(temporaryDirectory(), 'http.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await runProcess(process.execPath, ['-e', script]);
    expect(await listenFinding({ kind: 'unix', path })).toMatchObject({ result: 'ok' });
    expect(existsSync(path)).toBe(true);
  });

  test('finds well what the recording that runs here serves, as in its own container', async () => {
    await busyPort(async (port) => {
      const endpoint = { kind: 'tcp', host: '::', port, tls: false } as const;
      expect(await listenFinding(endpoint, [`127.0.0.1:${port}`])).toMatchObject({
        result: 'ok',
        found: `[::]:${port} is served by the recording that runs here`,
      });
      expect(await listenFinding(endpoint, [`127.0.0.1:${port + 1}`])).toMatchObject({ result: 'fail' });
    });
  });

  test('only warns of a probe port in use, which may be that of the recording that runs here', async () => {
    await busyPort(async (port) => {
      const endpoint = { kind: 'tcp', host: '127.0.0.1', port, tls: false } as const;
      expect(await probeFinding(endpoint)).toMatchObject({
        result: 'warn',
        advice: expect.stringContaining('--probe-listen'),
      });
      expect(await probeFinding(endpoint, null, ['127.0.0.1:8080'])).toMatchObject({ result: 'ok' });
    });
  });

  test.each([
    ['127.0.0.1', '127.0.0.1', 'warn'],
    ['::', '127.0.0.1', 'warn'],
    ['127.0.0.1', '0.0.0.0', 'warn'],
    ['::', '0.0.0.0', 'warn'],
    ['localhost', '127.0.0.1', 'warn'],
  ])('finds no port free twice: --listen on %s, probes on %s', async (host, probeHost, result) => {
    const port = await busyPort(async (free) => free);
    const [listen, probes] = [host, probeHost].map(
      (one) => ({ kind: 'tcp', host: one, port, tls: false }) as const,
    ) as [Endpoint, Endpoint];
    expect(await probeFinding(probes, listen)).toMatchObject({ result });
    const elsewhere = { ...listen, port: 0 } as Endpoint;
    expect(await probeFinding(probes, elsewhere)).toMatchObject({ result: 'ok' });
  });

  test('speaks TLS with a target that is to, and warns of one that does not', async () => {
    const plain = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const secure = createTlsServer({ cert: CERTIFICATE_PEM, key: CERTIFICATE_KEY_PEM });
    const findings = await Promise.all(
      [plain, secure].map(async (server) => {
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const { port } = server.address() as { port: number };
        const found = await targetFinding(
          { kind: 'tcp', host: '127.0.0.1', port, tls: true },
          systemClock,
          60_000,
        );
        server.close();
        return found;
      }),
    );
    expect(findings).toMatchObject([
      { result: 'warn', advice: expect.stringContaining('http://') },
      { result: 'ok', found: expect.stringContaining('TLS') },
    ]);
  });

  test('finds a model server that is up', async () => {
    await busyPort(async (port) => {
      expect((await doctor('--target', `http://127.0.0.1:${port}`)).finding('target')?.result).toBe('ok');
    });
  });

  test('says it to people as well', async () => {
    const { stdout } = await runCommand(['doctor', '--target', '127.0.0.1:1']);
    expect(stdout).toMatch(/^check +result +found/);
    expect(stdout).toContain('target: Start it');
  });
});
