"""Call 3: correctness of the mixer op against float64 on the GPU, configurations of every kernel, mixer and full step."""
import json,os,sys,time,traceback,itertools
import torch, torch.nn.functional as F
from torch import Tensor
sys.path.insert(0,'training/src')
from chimera_train import ssd, config
from chimera_train.kernels import scan,conv,norm,xent
from chimera_train.kernels.mixer import mixer
OUT=open(os.environ.get('OUT','.')+'/r.jsonl','a'); T0=time.time()
def log(**k):
    k['at']=round(time.time()-T0,1); s=json.dumps(k); print(s,flush=True); OUT.write(s+'\n'); OUT.flush()
WORKER=os.environ.get('WORKER'); W,NW=(int(WORKER.split('/')[0]),int(WORKER.split('/')[1])) if WORKER else (0,1)
COUNT=itertools.count()
if WORKER: OUT=open(os.devnull,'w')
def bench(f,n=6,rep=3):
    if WORKER:
        if next(COUNT)%NW==W: f(); torch.cuda.synchronize()
        return 0
    f(); f(); torch.cuda.synchronize(); r=[]
    for _ in range(rep):
        a,b=torch.cuda.Event(enable_timing=True),torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(n): f()
        b.record(); torch.cuda.synchronize(); r.append(a.elapsed_time(b)/n)
    return round(sorted(r)[len(r)//2],4)
def guard(name,f):
    try: return f()
    except Exception as e:
        if not WORKER: log(what=name,error=repr(e)[:300],tb=traceback.format_exc()[-600:])
dev='cuda'; log(device=torch.cuda.get_device_name())
def rel(g,w): return float((g.double()-w.double()).norm()/w.double().norm().clamp(min=1e-12))
def relmax(g,w): return float((g.double()-w.double()).abs().max()/w.double().abs().max().clamp(min=1e-12))
# ---- correctness, bf16
def make(b,t,H,P,N,dtype=torch.bfloat16):
    g=torch.Generator(dev).manual_seed(3); I=H*P;Cx=I+2*N
    r=lambda *s: torch.randn(*s,device=dev,generator=g)
    return [r(b,t,I+Cx+H).to(dtype),r(Cx,1,4)*0.4,r(Cx)*0.1,torch.log(torch.expm1(torch.exp(torch.rand(H,device=dev,generator=g)*4.6-6.9))),torch.log(1+15*torch.rand(H,device=dev,generator=g)),1+0.1*r(H),1+0.1*r(I)]
def ref(a,eps,N,seq,H,P):
    zx,cw,cb,db,Al,D,w=[x.double() for x in a]; b,t,_=zx.shape;I=H*P
    z,xbc,dt=zx.split([I,I+2*N,H],-1)
    x,B,C=F.silu(ssd.causal_conv(xbc,cw,cb,seq)).split([I,N,N],-1)
    y=ssd.ssd_sequential(x.view(b,t,H,P),F.softplus(dt+db),-torch.exp(Al),B,C,D,seq)
    f=y.reshape(b,t,I)*F.silu(z); return w*f*torch.rsqrt(f.square().mean(-1,keepdim=True)+eps)
def theirs(a,eps,N,seq,H,P):
    zx,cw,cb,db,Al,D,w=a; b,t,_=zx.shape;I=H*P
    z,xbc,dt=zx.split([I,I+2*N,H],-1)
    x,B,C=F.silu(ssd.causal_conv(xbc,cw.to(zx.dtype),cb.to(zx.dtype),seq)).to(zx.dtype).split([I,N,N],-1)
    y=ssd.ssd(x.view(b,t,H,P),F.softplus(dt.float()+db),-torch.exp(Al),B,C,D,128,seq)
    f=y.reshape(b,t,I).float()*F.silu(z.float()); return (w*f*torch.rsqrt(f.square().mean(-1,keepdim=True)+eps)).to(zx.dtype)
def core():
    b,t,H,P,N=1,333,4,64,128; I=H*P; g=torch.Generator(dev).manual_seed(5); r=lambda *s: torch.randn(*s,device=dev,generator=g)
    xbc=r(b,t,I+2*N).bfloat16(); dt=r(b,t,H); dy=r(b,t,I).bfloat16(); _,_,_,db,Al,D,_=make(b,t,H,P,N)
    seq=(torch.arange(t,device=dev)[None]//150).int()
    lv=[xbc,dt,db,Al,D]
    def go(f,dtp):
        a=[x.detach().to(dtp if dtp==torch.float64 else x.dtype).requires_grad_() for x in lv]
        x,B,C=a[0].split([I,N,N],-1); y=f(x.view(b,t,H,P),F.softplus(a[1]+a[2]),-torch.exp(a[3]),B,C,a[4]).reshape(b,t,I)
        gr=torch.autograd.grad(y,a,dy.to(y.dtype)); return [y,gr[0][...,:I],gr[0][...,I:I+N],gr[0][...,I+N:],*gr[1:]]
    want=go(lambda *q: ssd.ssd_sequential(*q,seq),torch.float64)
    peer=go(lambda *q: ssd.ssd_chunked(*q,64,seq),None)
    s=scan.Sizes(b,t,H,P,N,64); p=scan.prepare(dt,db,Al,seq,s); y=scan.forward(xbc,p,D,seq,s); dx=torch.empty_like(xbc); dd=torch.empty_like(dt)
    q=scan.backward(dy,xbc,p,Al,D,seq,s,dx,dd)
    ours=[y,dx[...,:I],dx[...,I:I+N],dx[...,I+N:],dd,q[1],q[0],q[2]]
    n=('y','dx','dB','dC','ddt','dbias','dA_log','dD')
    log(core={k:(round(rel(o,v),5),round(rel(c,v),5)) for k,o,c,v in zip(n,ours,peer,want)},order='ours, chunked PyTorch')
NM=('zxbcdt','conv_w','conv_b','dt_bias','A_log','D','norm_w')
def correct(masked,peer):
    b,t,H,P,N=1,333,4,64,128; a=[x.requires_grad_() for x in make(b,t,H,P,N)]
    seq=(torch.arange(t,device=dev)[None]//100).int() if masked else None
    dout=torch.randn(b,t,H*P,device=dev).bfloat16()
    w=ref(a,1e-5,N,seq,H,P); gw=torch.autograd.grad(w,a,dout.double())
    for nm,fn in (('ours',lambda:mixer(*a,1e-5,N,seq)),)+((('mamba-ssm',lambda:theirs(a,1e-5,N,seq,H,P)),) if peer else ()):
        y=fn(); g=torch.autograd.grad(y,a,dout); I=H*P
        parts={n:rel(x,v) for n,x,v in zip(NM[1:],g[1:],gw[1:])}
        for n,(s,e) in dict(dz=(0,I),dx=(I,2*I),dB=(2*I,2*I+N),dC=(2*I+N,2*I+2*N),ddt=(2*I+2*N,None)).items(): parts[n]=rel(g[0][...,s:e],gw[0][...,s:e])
        log(correct=nm,masked=masked,y=rel(y,w),grads={k:round(v,6) for k,v in parts.items()})
if not WORKER or W==0:
    guard('correct',lambda:correct(False,False)); guard('correct-masked',lambda:correct(True,False)); guard('core',core)
# ---- kernels at the reference shape
b,t,H,P,N=8,2048,40,64,128; I=H*P
a=make(b,t,H,P,N); zx,cw,cb,db,Al,D,w=a; z,xbc,dt=zx.split([I,I+2*N,H],-1)
seq=None
log(copy_zx=bench(lambda:zx.clone()))
act=conv.forward(xbc,cw,cb,seq); dact=torch.randn_like(act); grad=torch.empty_like(zx); dz,dxbc,ddt=grad.split([I,I+2*N,H],-1)
for c in ((8,128,16,4),(8,64,16,2),(16,64,16,4),(8,128,8,4),(8,256,16,8),(4,256,32,4)): guard('convb',lambda:log(k='conv_bwd',cfg=c,ms=bench(lambda:conv.backward(dact,xbc,cw,cb,seq,dxbc,c))))
for c in ((32,128,4),(16,128,4),(16,128,2),(16,256,4),(8,256,4),(64,128,8),(32,256,8)):
    guard('conv',lambda:log(k='conv_fwd',cfg=c,ms=bench(lambda:conv.forward(xbc,cw,cb,seq,c))))
for c in ((32,128,4),(16,128,4),(16,256,4),(64,64,4),(32,64,4)):
    guard('conv',lambda:log(k='conv_bwd dx',cfg=c,ms=bench(lambda:conv.backward(dact,xbc,cw,cb,seq,dxbc,conv.BACKWARD,c))))
y=torch.randn(b,t,I,device=dev).bfloat16(); dout=torch.randn_like(y)
for c in (4,8,16): log(k='norm_fwd',cfg=c,ms=bench(lambda:norm.forward(y,z,w,1e-5,c)))
for c in ((4,1056,1),(8,1056,1),(8,1056,2),(8,528,3),(8,264,3),(4,528,3),(16,264,3),(16,528,2),(8,2112,1),(4,2112,1),(16,1056,1)): guard('norm',lambda:log(k='norm_bwd',cfg=c,ms=bench(lambda:norm.backward(dout,y,z,w,1e-5,dz,*c))))
s=scan.Sizes(b,t,H,P,N,64); prep=scan.prepare(dt,db,Al,seq,s); B=act[...,I:I+N]
S=scan.walk(act,B,prep,s,False)
sv,sg=scan.walk,scan.state_grads
part={g:torch.zeros(b*32,1,64,N,device=dev) for g in (1,)}
scan.walk=lambda *x,**k:S; scan.state_grads=lambda *x,**k:part[1]
import importlib.util
NOCS=("        dc += tl.sum(tl.dot(Ct, S) * dyf, 1) * into\n","        dc += into\n")
NOSS=(" + keep * tl.sum(tl.sum(S.to(tl.float32) * dS.to(tl.float32), 1), 0)"," + keep")
NOBOTH=("dc = tl.sum(both, 0) - tl.sum(both, 1)","dc = tl.sum(both, 1)")
NOCUM=("        da = tl.sum(dc, 0) - tl.cumsum(dc, 0) + dc + left\n","        da = dc+left\n")
NODT=("        tl.store(ddt_ptr + row * ddt_row + h, draw.to(ddt_ptr.dtype.element_ty), mask=t < T)\n","")
base=open(scan.__file__).read()
for name,subs in dict(base=[],nocs=[NOCS],noss=[NOSS],nocsss=[NOCS,NOSS],noboth=[NOBOTH],nocum=[NOCUM],nodt=[NODT],none=[NOCS,NOSS,NOBOTH,NOCUM,NODT]).items():
    src=base
    for x1,x2 in subs: assert x1 in src; src=src.replace(x1,x2)
    f=f'/tmp/v_{name}.py'
    if not os.path.exists(f): open(f+str(os.getpid()),'w').write(src); os.rename(f+str(os.getpid()),f)
    sp=importlib.util.spec_from_file_location('v_'+name,f); m=importlib.util.module_from_spec(sp); sys.modules['v_'+name]=m; sp.loader.exec_module(m)
    m.walk=lambda *x,**k:S; m.state_grads=lambda *x,**k:part[1]
    for c in ((40,8,1),(40,16,1),(20,8,1),(40,8,2)) if name in('base','nocsss','none') else ((40,8,1),):
        guard('grads',lambda:log(k='grads+shared '+name,cfg=c,ms=bench(lambda:m.backward(dout,act,prep,Al,D,seq,s,dact,ddt,m.DEFAULT._replace(grads=c)))))
scan.walk,scan.state_grads=sv,sg
# whole op
ar=[x.detach().requires_grad_() for x in a]
log(k='op_fwd',ms=bench(lambda:mixer(*a,1e-5,N,seq)))
def fb():
    o=mixer(*ar,1e-5,N,seq); torch.autograd.grad(o,ar,dout)
log(k='op_fwdbwd',ms=bench(fb))
# full step of the starter's shape through our kernels, compiled
def step(cfg,rows,mix,lk,n=4,name=''):
    if WORKER and next(COUNT)%NW!=W: return
    if WORKER: n=0
    if time.time()-T0>float(os.environ.get('LIMIT','85')): return log(skipped=name)
    from chimera_train.model import Chimera,init_weights
    m=Chimera(cfg); init_weights(m,1,False); m.to(dev); m.set_kernels(mix,lk); m.compile_blocks()
    ids=torch.randint(cfg.vocab_size,(rows,2049),device=dev); sq=(torch.arange(2048,device=dev)//700).int()[None].expand(rows,-1).contiguous()
    t=time.time()
    def f():
        with torch.autocast('cuda',torch.bfloat16): l=m.loss_sum(ids[:,:-1],ids[:,1:],sq,z_weight=1e-4,attention_docs=False)
        l.backward(); return l
    l=f(); torch.cuda.synchronize(); c=time.time()-t
    if WORKER: return
    ms=bench(f,n,2); tk=rows*2048/ms*1e3
    log(step=name,mix=mix,loss_kernel=lk,rows=rows,ms=ms,tok_s=round(tk),mfu=round(tk*config.flops_per_token(cfg)/989e12,4),compile_s=round(c,1),loss=float(l)/rows/2048,gb=round(torch.cuda.max_memory_allocated()/1e9,1),gnorm=float(torch.stack([p.grad.norm() for p in m.parameters()]).norm()))
    return m
torch.cuda.empty_cache()
guard('step',lambda:step(config.starter(),32,'chimera','chimera',name='starter'))
torch.cuda.empty_cache()
guard('step',lambda:step(config.starter(n_layer=12,attention_layers=(6,),d_ff=960),32,'chimera','chimera',name='92m'))
torch.cuda.empty_cache()
guard('step',lambda:step(config.flagship(),16,'chimera','chimera',name='700m'))
torch.cuda.empty_cache()
# where the time of one step goes
def prof():
    from torch.profiler import profile,ProfilerActivity
    m=step(config.starter(),32,'chimera','chimera',2,'starter-profiled')
    ids=torch.randint(32768,(32,2049),device=dev)
    sq=(torch.arange(2048,device=dev)//700).int()[None].expand(32,-1).contiguous()
    with profile(activities=[ProfilerActivity.CUDA]) as p:
        with torch.autocast('cuda',torch.bfloat16): l=m.loss_sum(ids[:,:-1],ids[:,1:],sq,z_weight=1e-4,attention_docs=False)
        l.backward(); torch.cuda.synchronize()
    open(os.environ.get('OUT','.')+'/prof.txt','w').write(p.key_averages().table(sort_by='cuda_time_total',row_limit=45,max_name_column_width=90))
if not WORKER and time.time()-T0<80: torch.cuda.empty_cache(); guard('prof',prof)
log(done=True)
