/** Counts kept over the life of a run. */
export class ConnectionCounts {
  opened = 0;
  failed = 0;
  open = 0;
  openMax = 0;
  /** Connections that sent at least one request, and what they sent. */
  used = 0;
  requests = 0;
  requestsMax = 0;
  readonly byAddress = new Map<string, { connections: number; requests: number }>();

  noteOpened(address: string): void {
    this.opened++;
    this.open++;
    this.openMax = Math.max(this.openMax, this.open);
    this.#useOf(address).connections++;
  }

  noteClosed(): void {
    this.open--;
  }

  /** A request was written; `nth` is its place on its connection, from 1. */
  noteRequest(address: string, nth: number): void {
    if (nth === 1) this.used++;
    this.requests++;
    this.requestsMax = Math.max(this.requestsMax, nth);
    this.#useOf(address).requests++;
  }

  #useOf(address: string): { connections: number; requests: number } {
    let use = this.byAddress.get(address);
    if (!use) {
      use = { connections: 0, requests: 0 };
      this.byAddress.set(address, use);
    }
    return use;
  }
}
