export type ProxyProtocolVersion = 'v1' | 'v2';
