// Clerk's own library behind Node's own server, as its documentation uses it with the Fetch API.
import http from 'node:http';
import { Readable } from 'node:stream';
import { clerkFrontendApiProxy } from '@clerk/backend/proxy';

const options = {
  proxyPath: '/__clerk',
  publishableKey: 'pk_live_' + btoa('clerk.app.dev$'),
  secretKey: process.env.CLERK_SECRET_KEY,
};

http.createServer(async (req, res) => {
  const headers = new Headers();
  for (let i = 0; i < req.rawHeaders.length; i += 2) headers.append(req.rawHeaders[i], req.rawHeaders[i + 1]);
  headers.set('x-forwarded-proto', 'https');
  headers.set('x-real-ip', req.socket.remoteAddress);
  const hasBody = req.method !== 'GET' && req.method !== 'HEAD';
  const body = hasBody ? { body: Readable.toWeb(req), duplex: 'half' } : {};
  const reply = await clerkFrontendApiProxy(
    new Request(`https://${req.headers.host}${req.url}`, { method: req.method, headers, ...body }), options);
  const names = [...reply.headers.keys()].filter((name) => name !== 'set-cookie');
  res.setHeaders(new Map([...names.map((name) => [name, reply.headers.get(name)]),
    ['set-cookie', reply.headers.getSetCookie()]]));
  res.writeHead(reply.status);
  if (reply.body) Readable.fromWeb(reply.body).pipe(res); else res.end();
}).listen(Number(process.env.PORT), '127.0.0.1');
