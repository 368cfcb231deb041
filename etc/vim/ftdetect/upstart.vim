" Job files of init(8): the system's, those of sessions, and the sources that packages are built from.
autocmd BufNewFile,BufRead */etc/init/*.conf,*/etc/init/*.override setfiletype upstart
autocmd BufNewFile,BufRead */.init/*.conf,*/.init/*.override,*/.config/upstart/*.conf,*/.config/upstart/*.override setfiletype upstart
autocmd BufNewFile,BufRead */usr/share/upstart/*.conf,*.upstart-job,*/debian/*.upstart setfiletype upstart
