import type { DataPlane, Notice } from './data-plane.ts';
import type { PlaneOptions } from './messages.ts';
import type { RecorderLink } from './recorder-link.ts';

/** The data plane that is asked for. Only its own code is loaded: a wire has no use for an HTTP proxy. */
export async function planeOf(
  options: PlaneOptions,
  link: RecorderLink,
  notify: (notice: Notice) => void,
): Promise<DataPlane> {
  if (options.mode === 'gateway') {
    const { ReverseProxy } = await import('./http/reverse-proxy.ts');
    return new ReverseProxy(options, link, notify);
  }
  const { TcpProxy } = await import('./tcp/tcp-proxy.ts');
  return new TcpProxy(options, link, notify);
}
