import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const LISTENING = '0A';

/**
 * The processes of this host that listen on a TCP port, as far as we may see them: those of another user or container
 * are hidden. None where there is no /proc.
 */
export function serversOf(port: number): number[] {
  const sockets = new Set(['tcp', 'tcp6'].flatMap((table) => listeningInodes(table, port)));
  if (sockets.size === 0) return [];
  const listens = (pid: string) =>
    attempt(() => readdirSync(`/proc/${pid}/fd`)).some((fd) =>
      attempt(() => [readlinkSync(`/proc/${pid}/fd/${fd}`)]).some((link) => sockets.has(link)),
    );
  return attempt(() => readdirSync('/proc'))
    .filter((name) => /^\d+$/.test(name) && listens(name))
    .map(Number);
}

/** The names by which descriptors of a process point to its sockets: `socket:[123]`. */
function listeningInodes(table: string, port: number): string[] {
  const lines = attempt(() => readFileSync(`/proc/net/${table}`, 'latin1').split('\n').slice(1));
  return lines.flatMap((line) => {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
    const isListener = state === LISTENING && Number.parseInt(local.split(':')[1] ?? '', 16) === port;
    return isListener ? [`socket:[${inode}]`] : [];
  });
}

/** What was there to read; nothing of a process that ended meanwhile, or is not ours to look into. */
function attempt(read: () => string[]): string[] {
  try {
    return read();
  } catch {
    return [];
  }
}
