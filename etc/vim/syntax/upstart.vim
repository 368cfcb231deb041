" Job files of init(8); see init(5). The shell between `script` and `end script`, and behind `exec`, is shown as shell.

if exists("b:current_syntax")
  finish
endif

let b:is_posix = 1
syntax include @upstartShell syntax/sh.vim
unlet! b:current_syntax

syntax case match
syntax sync fromstart
setlocal commentstring=#\ %s

" A stanza stands at the beginning of a line.
syntax match upstartStanza /^\s*\%(description\|author\|version\|usage\|instance\|emits\|export\)\>/
syntax match upstartStanza /^\s*\%(task\|manual\|debug\|umask\|nice\|chroot\|chdir\|setuid\|setgid\)\>/
syntax match upstartStanza /^\s*\%(env\)\>/ nextgroup=upstartAssigned skipwhite
syntax match upstartStanza /^\s*\%(start\|stop\)\s\+on\>/ nextgroup=upstartCondition skipwhite
syntax match upstartStanza /^\s*respawn\>/ nextgroup=upstartWord skipwhite
syntax match upstartStanza /^\s*kill\>/ nextgroup=upstartWord,upstartSignalWord,upstartKillMode skipwhite
syntax match upstartStanza /^\s*reload\>/ nextgroup=upstartSignalWord skipwhite
syntax match upstartStanza /^\s*normal\s\+exit\>/ nextgroup=upstartSignal,upstartNumber skipwhite
syntax match upstartStanza /^\s*\%(expect\|console\|oom\|limit\|apparmor\|cgroup\)\>/ nextgroup=upstartWord skipwhite

syntax keyword upstartWord contained none stop fork daemon log output owner score never load switch
syntax keyword upstartWord contained limit timeout nextgroup=upstartNumber skipwhite
" Resources of limit, and controllers of cgroup.
syntax keyword upstartWord contained as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime
      \ nextgroup=upstartNumber skipwhite
syntax keyword upstartWord contained sigpending stack nextgroup=upstartNumber skipwhite
syntax keyword upstartWord contained blkio cpuacct cpuset freezer hugetlb io memory misc perf_event pids rdma
syntax match upstartKillMode contained /\<mode\>\%(\s\+\%(process\|group\|session\|all\)\>\)\=/
syntax keyword upstartSignalWord contained signal nextgroup=upstartSignal,upstartNumber skipwhite
syntax match upstartSignal contained /\<\%(SIG\)\=[A-Z][A-Z0-9+-]*\>/ nextgroup=upstartSignal,upstartNumber skipwhite
syntax match upstartNumber /\<-\=\d\+\>/ nextgroup=upstartSignal skipwhite
syntax keyword upstartNumber unlimited

" A condition goes on over the lines that its parentheses span, or that end in a backslash.
syntax region upstartCondition contained start=/\S/ skip=/\\$/ end=/$/ keepend extend
      \ contains=upstartParentheses,upstartOperator,upstartEvent,upstartTest,upstartString,upstartVariable,upstartComment
syntax region upstartParentheses contained start=/(/ end=/)/ extend
      \ contains=upstartParentheses,upstartOperator,upstartEvent,upstartTest,upstartString,upstartVariable,upstartComment
syntax keyword upstartOperator contained and or
syntax match upstartTest contained /\<[A-Za-z_][A-Za-z0-9_]*!\==/
syntax keyword upstartEvent contained startup runlevel starting started stopping stopped filesystem mounting mounted
syntax match upstartEvent contained /\<\%(control-alt-delete\|keyboard-request\|power-status-changed\|session-end\)\>/
syntax match upstartEvent contained /\<\%(local\|remote\|virtual\|all\)-\%(filesystems\|swaps\)\>/
syntax match upstartEvent contained /[[:alnum:]_-]\+-device-\%(added\|removed\|changed\|up\|down\)\>/
syntax match upstartEvent contained /\<static-network-up\>/

syntax region upstartString start=/"/ skip=/\\"/ end=/"/ contains=upstartVariable
syntax region upstartString start=/'/ end=/'/
syntax match upstartVariable /\$\%(\h\w*\|{[^}]*}\)/
syntax match upstartAssigned contained /\h\w*\ze=/

syntax region upstartExec matchgroup=upstartStanza
      \ start=/^\s*\%(\%(pre\|post\)-\%(start\|stop\)\s\+\)\=exec\>/ skip=/\\$/ end=/$/ contains=@upstartShell
syntax region upstartScript matchgroup=upstartStanza
      \ start=/^\s*\%(\%(pre\|post\)-\%(start\|stop\)\s\+\)\=script\s*\%(#.*\)\=$/ end=/^\s*end\s\+script\>/
      \ contains=@upstartShell

syntax match upstartComment /#.*$/ contains=upstartTodo,@Spell
syntax keyword upstartTodo contained TODO FIXME XXX

highlight default link upstartStanza Statement
highlight default link upstartWord Type
highlight default link upstartSignalWord Type
highlight default link upstartSignal Constant
highlight default link upstartNumber Number
highlight default link upstartOperator Operator
highlight default link upstartTest Identifier
highlight default link upstartEvent Define
highlight default link upstartString String
highlight default link upstartVariable Identifier
highlight default link upstartAssigned Identifier
highlight default link upstartComment Comment
highlight default link upstartTodo Todo

let b:current_syntax = "upstart"
