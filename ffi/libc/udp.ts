/**
 * UDP sockets for multicast, and the layouts that sendmsg(2), sendmmsg(2) and recvmmsg(2) read.
 *
 * struct iovec   { void *base 0; size_t len 8; } 16 bytes
 * struct msghdr  { void *name 0; u32 namelen 8; iovec *iov 16; size_t iovlen 24; void *control 32;
 *                  size_t controllen 40; int flags 48; } 56 bytes
 * struct mmsghdr { msghdr hdr 0; unsigned len 56; } 64 bytes
 * IPv4 only; the address text is trusted to be one (the callers parse at the door).
 */
import { ptr } from 'bun:ffi'
import { check } from './errno.ts'
import { type Block, block } from './memory.ts'
import { c } from './symbols.ts'

export const IOVEC_WORDS = 4
export const MMSGHDR_WORDS = 16
export const MSGHDR = { name: 0, nameLength: 2, iov: 4, iovCount: 6, control: 8, controlLength: 10 } as const
export const MMSGHDR_LENGTH_WORD = 14

export const MSG_DONTWAIT = 0x40
export const SOL_UDP = 17
export const UDP_GRO = 104
/** The most segments one UDP_SEGMENT call may have on every kernel (UDP_MAX_SEGMENTS; newer ones take 128). */
export const MAX_SEGMENTS = 64
/** The most bytes one IPv4 datagram carries, before the kernel cuts it into segments (65,535 - 20 - 8). */
export const MAX_DATAGRAM = 65_507
/** The most iovecs one message may have (UIO_MAXIOV). */
export const MAX_IOVECS = 1024

const AF_INET = 2
const SOCK_DGRAM = 2
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const SO_MEMINFO = 55
const IPPROTO_IP = 0
const IP_TOS = 1
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_MULTICAST_LOOP = 34
const IP_ADD_MEMBERSHIP = 35
const IP_DROP_MEMBERSHIP = 36
const IP_MULTICAST_ALL = 49
const UDP_SEGMENT = 103

/** DSCP class selector 1: bulk that yields to everything else (RFC 3662 §4). */
const DSCP_CS1 = 8 << 2

export function sockaddrIn(address: string, port: number): Uint8Array {
  const made = block(16)
  made.view.setUint16(0, AF_INET, true)
  made.view.setUint16(2, port, false)
  made.bytes.set(address.split('.').map(Number), 4)
  return made.bytes
}

function setInt(fd: number, level: number, name: number, value: number): number {
  return Number(c.setsockopt(fd, level, name, ptr(new Int32Array([value])), 4))
}

/** The forced variant passes the limits of net.core.*mem_max and wants CAP_NET_ADMIN; the plain one is cut to them. */
function setBuffer(fd: number, forced: number, plain: number, bytes: number): void {
  if (setInt(fd, SOL_SOCKET, forced, bytes) < 0) check('SO_*BUF', setInt(fd, SOL_SOCKET, plain, bytes))
}

/** struct ip_mreqn { in_addr group; in_addr local; int ifindex; } */
function membership(group: string, interfaceIndex: number): Uint8Array {
  const made = block(16)
  made.bytes.set(group.split('.').map(Number), 0)
  made.view.setInt32(8, interfaceIndex, true)
  return made.bytes.subarray(0, 12)
}

function datagramSocket(): number {
  return check('socket', c.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
}

export type SenderSocket = {
  readonly address: string
  readonly port: number
  readonly interfaceIndex: number
  readonly ttl: number
}

/**
 * Sends to a group and receives what is sent to `address`:`port` itself. Looping back is off: the copy for local
 * listeners would cost every super-packet a clone. The address is not shared (no SO_REUSEADDR): with it any process of this
 * machine could bind the same one and take the reports.
 */
export function openSender(options: SenderSocket): number {
  const fd = datagramSocket()
  try {
    check('bind', c.bind(fd, ptr(sockaddrIn(options.address, options.port)), 16))
    const request = membership('0.0.0.0', options.interfaceIndex)
    check('IP_MULTICAST_IF', c.setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, ptr(request), 12))
    check('IP_MULTICAST_TTL', setInt(fd, IPPROTO_IP, IP_MULTICAST_TTL, options.ttl))
    check('IP_MULTICAST_LOOP', setInt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0))
    check('IP_TOS', setInt(fd, IPPROTO_IP, IP_TOS, DSCP_CS1))
    setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, 4 << 20)
    setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, 4 << 20)
    return fd
  } catch (error) {
    c.close(fd)
    throw error
  }
}

/** Lets the kernel cut one large message into datagrams of `segmentBytes`; false where it does not know how. */
export function setSegmentSize(fd: number, segmentBytes: number): boolean {
  return setInt(fd, SOL_UDP, UDP_SEGMENT, segmentBytes) >= 0
}

export type GroupSocket = {
  readonly group: string
  readonly port: number
  readonly interfaceIndex: number
  readonly receiveBufferBytes: number
}

/** Hears one group on one interface. Bound to the group's address: unicast and other groups on that port never reach it. */
export function openGroup(options: GroupSocket): number {
  const fd = datagramSocket()
  try {
    // Several receivers on one machine hear the same group.
    check('SO_REUSEADDR', setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1))
    check('bind', c.bind(fd, ptr(sockaddrIn(options.group, options.port)), 16))
    check('IP_MULTICAST_ALL', setInt(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0))
    setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBufferBytes)
    setInt(fd, SOL_UDP, UDP_GRO, 1) // kernels before 5.0 lack it and deliver single datagrams
    joinGroup(fd, options.group, options.interfaceIndex)
    return fd
  } catch (error) {
    c.close(fd)
    throw error
  }
}

export function joinGroup(fd: number, group: string, interfaceIndex: number): void {
  const request = membership(group, interfaceIndex)
  check('IP_ADD_MEMBERSHIP', c.setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, ptr(request), 12))
}

export function leaveGroup(fd: number, group: string, interfaceIndex: number): void {
  c.setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, ptr(membership(group, interfaceIndex)), 12)
}

/** An unbound socket connected to one peer, for reports. */
export function openTo(address: string, port: number): number {
  const fd = check('socket', c.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
  if (c.connect(fd, ptr(sockaddrIn(address, port)), 16) < 0) {
    c.close(fd)
    check('connect', -1)
  }
  return fd
}

/** The address this machine would send from towards `address`, by its own routes; undefined without a route. */
export function sourceTowards(address: string): string | undefined {
  const fd = check('socket', c.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
  try {
    if (c.connect(fd, ptr(sockaddrIn(address, 9)), 16) < 0) return undefined
    const name = block(16)
    const length = new Uint32Array([16])
    check('getsockname', c.getsockname(fd, ptr(name.bytes), ptr(length)))
    return name.bytes.subarray(4, 8).join('.')
  } finally {
    c.close(fd)
  }
}

export function interfaceIndexOf(name: string): number | undefined {
  const index = Number(c.if_nametoindex(Buffer.from(`${name}\0`)))
  return index > 0 ? index : undefined
}

export function closeSocket(fd: number): void {
  c.close(fd)
}

/** Sends one small datagram; a full buffer or an absent peer is a lost packet, as UDP allows. */
export function sendDatagram(fd: number, bytes: Uint8Array, to?: Uint8Array): void {
  c.sendto(fd, ptr(bytes), bytes.byteLength, MSG_DONTWAIT, to ? ptr(to) : null, to ? 16 : 0)
}

/** Datagrams dropped because the receive queue was full. */
export type SocketMemory = { readonly drops: number }

/** SO_MEMINFO: nine u32, the last is SK_MEMINFO_DROPS (linux/sock_diag.h). */
export function socketMemory(fd: number): SocketMemory {
  const info = block(64)
  const length = new Uint32Array([36])
  if (c.getsockopt(fd, SOL_SOCKET, SO_MEMINFO, ptr(info.bytes), ptr(length)) < 0) return { drops: 0 }
  return { drops: info.view.getUint32(32, true) }
}

/** Receives one datagram into `into` without waiting; undefined when there is none. */
export function receiveDatagram(fd: number, into: Inbox): Uint8Array | undefined {
  const count = Number(c.recvmsg(fd, ptr(into.header.bytes), MSG_DONTWAIT))
  return count >= 0 ? into.body.bytes.subarray(0, count) : undefined
}

export type Inbox = { readonly header: Block; readonly body: Block; readonly iov: Block }

export function inbox(sizeBytes: number): Inbox {
  const body = block(sizeBytes)
  const iov = block(16)
  const header = block(56)
  iov.view.setBigUint64(0, BigInt(body.address), true)
  iov.view.setBigUint64(8, BigInt(sizeBytes), true)
  header.view.setBigUint64(MSGHDR.iov * 4, BigInt(iov.address), true)
  header.view.setBigUint64(MSGHDR.iovCount * 4, 1n, true)
  return { header, body, iov }
}
