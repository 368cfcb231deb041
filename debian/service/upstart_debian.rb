# Puppet's provider for Upstart is for Ubuntu and some others; this is the same for a Debian that Upstart has booted. It
# knows jobs by their files, those without a script as well, and leaves services without a job to the provider debian.
Puppet::Type.type(:service).provide :upstart_debian, :parent => :upstart do
  desc "Services of a Debian whose init is Upstart: jobs by `initctl`, scripts by the provider `debian`."

  confine 'os.name' => :debian
  confine :true => -> { has_initctl? }

  defaultfor 'os.name' => :debian

  # Jobs with instances are listed by their names, which say of which one only with variables.
  def status
    super
  rescue Puppet::ExecutionFailure => error
    raise unless error.message.include?('Unknown parameter')
    :stopped
  end
end
